"""ONNX files of a network that is judged by its outputs and of the original: checked and timed."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from ...evaluate.measure.latency import Comparison, compare
from ...export.all_outputs import ExportedOutputs, export_outputs
from ...export.parity import PARITY_BATCH
from ..options import BenchOptions
from .known import Case


def export_with_outputs(
    case: Case, network: nn.Module, path: Path, metadata: Mapping[str, str], opset: int | None
) -> ExportedOutputs:
    """Write a network with all of its outputs, each checked on held-out images.

    Args:
        case: of the network that came in; its inputs are one tensor.

    Raises:
        InputError: it cannot be exported. GateError: an output differs; no file is left.
    """
    images, _ = next(iter(case.data.held_out.batches(PARITY_BATCH, device=case.device)))
    return export_outputs(network, images, path, metadata=metadata, opset=opset)


def time_with_original(
    case: Case, file: Path, bench: BenchOptions, opset: int | None = None
) -> Comparison:
    """Latency of a smaller network's file, in turns with the original's.

    Raises:
        InputError: the original cannot be exported. UsageError: see `compare`.
    """
    with TemporaryDirectory(prefix="prune-dl-original-") as folder:
        original = Path(folder) / "original.onnx"
        export_with_outputs(case, case.model, original, {}, opset)
        with case.log.stage("benchmark") as progress:
            return compare({"original": original, "model": file}, bench, progress=progress)
