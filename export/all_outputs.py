"""A network with several outputs as one ONNX file: all of them, by name, each held against torch.

Shapes: N images of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..prune.errors import GateError, InputError
from ..prune.forward import call, evaluating
from ..prune.output_score import float_outputs, require_float_outputs
from .graph import EXAMPLE_BATCH, AllOutputs, GraphFormat, export_module
from .parity import PARITY_BATCH, PARITY_TOLERANCE, differences
from .session import open_session


@dataclass(frozen=True)
class ExportedOutputs:
    """A file that was checked.

    Attributes:
        path, size_bytes: the file.
        differences: output -> largest difference from torch, over the largest of its magnitudes.
        max_abs_difference: largest difference of any output.
        num_images: that were compared.
    """

    path: Path
    size_bytes: int
    differences: Mapping[str, float] = field(default_factory=dict)
    max_abs_difference: float = 0.0
    num_images: int = 0


def export_outputs(
    model: nn.Module,
    images: Tensor,
    path: Path,
    *,
    metadata: Mapping[str, str],
    opset: int | None = None,
    batch_size: int | None = None,
) -> ExportedOutputs:
    """Write a network with all of its outputs to one ONNX file, and check every one of them.

    The graph takes "images" (N, ...) and gives each output under its name in torch: "out", "aux",
    "0"; "output" where the network gives a bare tensor. Height and width are those of `images`.

    Args:
        model: any network of one tensor.
        images: (N, ...) float32, real ones: what the file is compared on, `PARITY_BATCH` at most.
        opset, batch_size: as `export_onnx`.

    Raises:
        InputError: the network takes something else, gives nothing that can be compared, or cannot
            be exported.
        GateError: an output differs by more than `PARITY_TOLERANCE`; the file has been removed.
    """
    if not isinstance(images, Tensor):
        raise InputError(
            "a network of several inputs given; expected one tensor of images, which an ONNX file "
            "of this tool takes; export it with torch.onnx.export"
        )
    images = images[:batch_size] if batch_size else images[:PARITY_BATCH]
    expected = _outputs(model, images)
    example = torch.zeros(batch_size or EXAMPLE_BATCH, *images.shape[1:])
    form = GraphFormat(opset, batch_size, tuple(expected))
    export_module(model, example, path, form, metadata=metadata, wrap=AllOutputs)
    found = open_session(path).run(None, {"images": images.cpu().numpy()})
    both = {
        name: differences(target.cpu().numpy(), value)
        for (name, target), value in zip(expected.items(), found, strict=True)
    }
    relative = {name: x for name, (_, x) in both.items()}
    worst = max(relative, key=lambda name: relative[name])
    if not relative[worst] <= PARITY_TOLERANCE:
        path.unlink()
        raise GateError(
            f"output {worst} of {path} differs from the network by {relative[worst]:.2g} of its "
            f"largest magnitude; expected at most {PARITY_TOLERANCE:g}; the file was removed"
        )
    largest = max(x for x, _ in both.values())
    return ExportedOutputs(path, path.stat().st_size, relative, largest, len(images))


def _outputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """All outputs of the network in evaluation mode, by name."""
    device = next((x.device for x in (*model.parameters(), *model.buffers())), images.device)
    with evaluating(model):
        outputs = call(model, images.to(device).clone())
    require_float_outputs(outputs)
    return float_outputs(outputs)
