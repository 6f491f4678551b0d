"""Write a network as one ONNX file, checked and with its metadata.

Shapes: N images, C channels, H height, W width, K labels.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from torch import nn

from ..prune.errors import InputError, UsageError
from ..prune.files import whole_file
from ..prune.forward import FORWARD_ERRORS, call, evaluating
from ..prune.output_score import float_outputs
from ..prune.outputs import LogitsOnly, logits_of
from .opset import convert, exporter_opset, require_opset

INPUT_NAME = "images"
OUTPUT_NAME = "logits"
MAX_BYTES = 2**31 - 1
"""A protobuf message, and so an ONNX file without a side file, cannot be larger."""
CHATTY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")
EXAMPLE_BATCH = 2
"""Images that a graph of any batch size is recorded with; a batch of 1 would be taken as fixed."""
Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True)
class GraphFormat:
    """The form of a graph, whatever the network.

    Attributes:
        opset: version of the ONNX operator set, 11 or later; None takes the exporter's own, the
            newest that needs no conversion.
        batch_size: fixes the first axis; None leaves it free.
        output_names: of the outputs, in their order.
    """

    opset: int | None = None
    batch_size: int | None = None
    output_names: tuple[str, ...] = (OUTPUT_NAME,)


class AllOutputs(nn.Module):
    """A network that gives its floating-point outputs as a tuple."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs of the network inside, in its order."""
        return tuple(float_outputs(self.model(images)).values())


def export_onnx(
    model: nn.Module,
    input_size: tuple[int, int, int],
    path: Path,
    *,
    metadata: Mapping[str, str],
    opset: int | None = None,
    batch_size: int | None = None,
) -> Path:
    """Write `model`, in eval mode, to one checked ONNX file; return its path.

    The graph takes "images" (N, C, H, W) float32 and gives "logits" (N, K) float32. The file
    appears under its name only when it is complete and has passed `onnx.checker` with shape
    inference. The model itself is not touched: a copy on the CPU is exported.

    Args:
        model: any network of one image tensor that `torch.export` can follow.
        input_size: C, H, W of one image.
        path: where the file goes; an existing file is replaced.
        metadata: written as `metadata_props` of the file.
        opset: version of the ONNX operator set, 11 or later; None takes the exporter's own, the
            newest that needs no conversion.
        batch_size: fixes N; None leaves it free.

    Raises:
        InputError: the network cannot be exported, or is too large for one file.
        UsageError: the operator set cannot be written.
    """
    form = GraphFormat(opset, batch_size)
    example = torch.zeros(batch_size or EXAMPLE_BATCH, *input_size)
    return export_module(model, example, path, form, metadata=metadata)


def export_module(
    model: nn.Module,
    example: torch.Tensor,
    path: Path,
    form: GraphFormat,
    *,
    metadata: Mapping[str, str],
    finish: Rewrite | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
) -> Path:
    """The body of `export_onnx` for any input tensor.

    Args:
        finish: may rewrite the graph.
        wrap: makes a network that gives bare tensors, one for each name; None for its logits.
    """
    require_opset(form.opset)
    _refuse_large(model)
    module = copy.deepcopy(model).cpu().eval()
    bare = _with_one_output(module, example) if wrap is None else wrap(module).eval()
    proto = _to_proto(bare, example, form)
    if finish is not None:
        proto = finish(proto)
    _describe(proto, metadata)
    return write_checked(proto, path)


def check_exportable(model: nn.Module, input_size: tuple[int, int, int], form: GraphFormat) -> None:
    """Find out before long work whether a network can be written in a form; nothing is written.

    What pruning leaves of it has the same operators.

    Raises:
        InputError, UsageError: as `export_onnx`.
    """
    with TemporaryDirectory(prefix="prune-dl-opset-") as folder:
        file = Path(folder) / "probe.onnx"
        example = torch.zeros(form.batch_size or EXAMPLE_BATCH, *input_size)
        export_module(model, example, file, form, metadata={})


def write_checked(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a graph that passes the checker of ONNX; a file that was there stays if it does not.

    Raises:
        InputError: the place cannot be written to.
    """
    with whole_file(path) as partial:
        partial.write_bytes(proto.SerializeToString())
        onnx.checker.check_model(str(partial), full_check=True)
    return path


def _with_one_output(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """The module itself, or where it wraps its logits in something, only them.

    Where there are no logits, all of its outputs. A module that does not run is left to the
    exporter, which says why.
    """
    try:
        with evaluating(module):
            outputs = call(module, example.clone())
    except FORWARD_ERRORS:
        return module
    if isinstance(outputs, torch.Tensor):
        return module
    try:
        logits_of(outputs)
    except InputError:
        return AllOutputs(module).eval()
    return LogitsOnly(module).eval()


def _refuse_large(model: nn.Module) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if num_bytes > MAX_BYTES:
        raise InputError(
            f"a network of {num_bytes / 2**30:.1f} GiB given; one ONNX file holds at most 2 GiB; "
            "prune it further before the export"
        )


def _to_proto(module: nn.Module, example: torch.Tensor, form: GraphFormat) -> onnx.ModelProto:
    batch: dict[int, Any] = {} if form.batch_size else {0: torch.export.Dim("batch")}
    try:
        with _quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=list(form.output_names),
                opset_version=exporter_opset(form.opset),
                dynamic_shapes=(batch,),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(
            f"{type(module).__name__} cannot be exported to ONNX ({cause}); "
            "expected a forward that is a fixed sequence of tensor operations"
        ) from error
    assert program is not None
    proto = convert(program.model_proto, form.opset)
    _require_opset(proto, form.opset)
    return proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter, which logs every step as a warning; its result is checked anyway."""
    loggers = [logging.getLogger(name) for name in CHATTY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def opset_of(proto: onnx.ModelProto) -> int:
    """Version of the standard ONNX operators that a graph uses."""
    return max(
        int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")
    )


def _require_opset(proto: onnx.ModelProto, opset: int | None) -> None:
    """The exporter falls back to another version without an error when a conversion fails."""
    if opset is not None and opset_of(proto) != opset:
        raise UsageError(
            f"`opset={opset}` given; this network can only be written for operator set "
            f"{opset_of(proto)}; give `opset={opset_of(proto)}`, or leave it out"
        )


def _describe(proto: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Name the producer, add the metadata, drop the exporter's traces of the source files."""
    proto.producer_name = "prune-dl"
    graph = proto.graph
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    onnx.helper.set_model_props(proto, dict(metadata))
