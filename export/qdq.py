"""Build INT8 graphs with onnxruntime.quantization, quietly, calibrating each method once."""

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .session import fixed_batch, open_session

QUANTISED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
CALIBRATION_BATCH = 32
"""Images that a graph takes at once while ranges are chosen; it bounds memory."""


@dataclass(frozen=True)
class QuantRecipe:
    """One way to quantise.

    Attributes:
        method: how activation ranges are chosen: "minmax", "percentile" or "entropy".
        weight_bits: 8, or 7 for processors without VNNI, whose 16-bit sums of two products of
            8-bit numbers can overflow.
    """

    method: str
    weight_bits: int = 8

    def __str__(self) -> str:
        """For example "minmax, 8-bit weights"."""
        return f"{self.method}, {self.weight_bits}-bit weights"


class Workbench:
    """A float file made ready for quantisation, and the INT8 files built from it.

    Attributes:
        source: the float file as it came.
        calibration: (N, ...) images as the graph takes them.
        proto: the prepared graph (shapes inferred, constants folded).
        layers: names of the nodes that can be quantised and hold weights.
    """

    def __init__(self, source: Path, calibration: NDArray[Any], folder: Path) -> None:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.source = source
        self.calibration = calibration
        self.folder = folder
        self.prepared = folder / "prepared.onnx"
        with _quiet():
            quant_pre_process(str(source), str(self.prepared), skip_symbolic_shape=True)
        self.proto = onnx.load(self.prepared)
        self.layers = tuple(layer_names(self.proto))
        self.input_name = self.proto.graph.input[0].name
        self.batch_size = fixed_batch(open_session(source)) or CALIBRATION_BATCH

    def build(self, recipe: QuantRecipe, skip: tuple[str, ...] = ()) -> Path:
        """The INT8 graph by `recipe`, with the nodes of `skip` left in float."""
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        path = self.folder / "int8.onnx"
        with _quiet():
            quantize_static(
                str(self.prepared),
                str(path),
                CalibrationReader(self.input_name, self.calibration, self.batch_size),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=recipe.weight_bits == 7,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(skip),
                calibrate_method=_method(recipe.method),
                calibration_cache_path=str(self.folder / f"{recipe.method}.json"),
            )
        return path


class CalibrationReader:
    """Calibration images in batches of one size, as onnxruntime.quantization needs them.

    Images that do not fill a last batch are left out.
    """

    def __init__(self, name: str, images: NDArray[Any], batch_size: int) -> None:
        size = min(batch_size, len(images))
        num_batches = len(images) // size
        batches = images[: num_batches * size].reshape(num_batches, size, *images.shape[1:])
        self.batches = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch, None after the last."""
        return next(self.batches, None)


def layer_names(proto: onnx.ModelProto) -> dict[str, str]:
    """Node -> module path of the layer whose weights it holds, in execution order."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return {
        node.name: node.input[1].removesuffix(".weight").removeprefix("model.")
        for node in proto.graph.node
        if node.op_type in QUANTISED_OPERATORS and node.input[1] in weights
    }


def _method(name: str) -> Any:
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime.quantization prints its steps and logs through the root logger.

    Logging there would otherwise install a handler on the root logger for good.
    """
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(divide="ignore"):
            yield
    finally:
        logging.root.removeHandler(handler)
