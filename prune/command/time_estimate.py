"""How long the rest of a job takes, estimated: a part of each stage is done and timed."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

from torch import Tensor, nn

from ...export.checked import export_checked
from ...export.variants import Variant
from ..errors import PruneError
from ..forward import call, evaluating
from ..job.known import Case, Planned
from ..job.output_files import export_with_outputs
from ..job.repair_and_check import (
    NORM_IMAGES,
    REFIT_IMAGES,
    FromStatistics,
    refit_repaired,
    repair_from_statistics,
)
from ..options import RetrainOptions
from ..repair.norms import reestimate_norms
from ..structure.surgery import remove

TIMED_IMAGES = 500
"""Held-out images that a forward pass is timed on."""
STEP = 3.0
"""Forward passes that a training step costs: one forward, about two back."""
PARTS = (4, 8)
"""A quarter and an eighth of the images of a refit are timed, the larger part first: it pays for
what only happens once."""
SCORED = ("original", "removed", "repaired", "refitted")
SCORED_WITHOUT = ("original", "removed", "new statistics")
"""Networks whose held-out score a repair looks at; and without one."""
_Made = TypeVar("_Made")


def extrapolated(more: tuple[int, float], few: tuple[int, float], total: int) -> float:
    """Seconds for `total` images, by the straight line through two pairs (images, seconds).

    A line that falls says that images cost nothing beside the rest.

    >>> extrapolated((500, 6.0), (250, 4.0), 2000)
    18.0
    """
    per_image = max(0.0, (more[1] - few[1]) / max(1, more[0] - few[0]))
    return more[1] + per_image * (total - more[0])


def retrain_seconds(case: Case, planned: Planned, retrain: RetrainOptions) -> float:
    """Steps on the smaller network, and a forward pass of the teacher beside each."""
    limit = min(TIMED_IMAGES, case.data.held_out.num_images)
    start = perf_counter()
    with evaluating(case.model):
        for images, _ in case.held_out(limit):
            call(case.model, images)
    forward = (perf_counter() - start) / limit
    share = planned.left.macs / planned.original.macs
    num_images = retrain.epochs * case.data.train.num_images
    return forward * (STEP * share + retrain.distill) * num_images


def repair_seconds(case: Case, planned: Planned, *, with_repair: bool) -> tuple[float, nn.Module]:
    """Removal, repair and its checks; and the network that is there before the refit."""
    removed, seconds = _timed(lambda: remove(case.model, planned.cut))
    if not with_repair:
        few = case.num_training(NORM_IMAGES) // PARTS[0] + 1
        batches = case.training(few, shuffle_seed=0)
        _, norms = _timed(lambda: reestimate_norms(removed, batches, case.device))
        _, score = _timed(lambda: case.of(removed).accuracy)
        seconds += norms / few * case.num_training(NORM_IMAGES)
        return seconds + len(SCORED_WITHOUT) * score, removed
    start, first = _timed(
        lambda: repair_from_statistics(case, planned.measured, planned.cut, removed)
    )
    _, score = _timed(lambda: case.of(start.network).accuracy)
    seconds += first + len(SCORED) * score
    return seconds + _refit(case, planned, start), start.network


def _refit(case: Case, planned: Planned, start: FromStatistics) -> float:
    total = case.num_training(REFIT_IMAGES)

    def refit(part: int) -> tuple[int, float]:
        images = total // part + 1
        return images, _timed(lambda: refit_repaired(case, planned.cut, start, images))[1]

    more, few = map(refit, PARTS)
    return extrapolated(more, few, total)


def export_seconds(case: Case, network: nn.Module, opset: int | None) -> tuple[float, str]:
    """Two files as fast as that of this network, and its checks; or 0 and why there is none."""
    if not isinstance(case.example, Tensor):
        return 0.0, "none: what is pruned takes several inputs"
    with TemporaryDirectory(prefix="prune-dl-dry-run-") as folder:
        file = Path(folder) / "model.onnx"
        start = perf_counter()
        try:
            if case.outputs is not None:
                export_with_outputs(case, network, file, {}, opset)
            else:
                export_checked(network, case.data, file, Variant(opset=opset), metadata={})
        except PruneError as error:
            return 0.0, f"not estimated: {error}"
    return 2 * (perf_counter() - start), ""


def _timed(do: Callable[[], _Made]) -> tuple[_Made, float]:
    start = perf_counter()
    made = do()
    return made, perf_counter() - start
