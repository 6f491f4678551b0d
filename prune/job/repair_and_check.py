"""Make up for removed filters without a gradient step, as far as held-out images confirm it.

removed -> repaired -> refitted, or with new batch-norm statistics
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ...evaluate.measure.accuracy import Accuracy
from ..inputs.split import DataSet
from ..mechanism.statistics import collect
from ..repair.norms import find_norm_behind, reestimate_norms
from ..repair.refit import RefitImages, refit
from ..repair.repair import repair
from ..structure.cut import Cut
from ..structure.plan import Plan
from .budget import Measured
from .judge import BATCH_SIZE, example_of, held_out_accuracy

NOTHING, REPAIRED, REFITTED = "nothing", "repair", "repair + refit"
REFIT_IMAGES = 2000
"""Training images that layers are solved again on."""
NORM_IMAGES = 2000
"""Training images that BN statistics are re-estimated from."""
CHECK_IMAGES = 500
"""Held-out images that every single layer is checked on."""


@dataclass(frozen=True)
class Mended:
    """The best of what can be done, and what was tried.

    Attributes:
        applied: what was done to `network`, in words.
        before, accuracy: on held-out images, as it was removed and of `network`.
        top1: held-out accuracy of everything that was tried, by name; fractions.
        left: what was not done where, and why, a line each.
    """

    network: nn.Module
    applied: str
    before: Accuracy
    accuracy: Accuracy
    top1: dict[str, float]
    left: tuple[str, ...]


def mend(
    model: nn.Module,
    removed: nn.Module,
    data: DataSet,
    base: Measured,
    plan: Plan,
    *,
    device: torch.device,
    with_repair: bool = True,
) -> Mended:
    """The best on held-out images of: as it is, repaired, refitted; or with new BN statistics.

    A stage that loses to the one before it is left out. Repair and refit win where they are equal,
    new BN statistics do not.

    Args:
        model, removed: the network that came in, and what removing made of it; neither changes.
        base: what was measured on `model`.
        with_repair: without it, only new BN statistics are tried.
    """
    accuracy = held_out_accuracy(removed, data, device)
    best, applied = removed, NOTHING
    tried = {NOTHING: accuracy}
    left: list[str] = []

    def judge(name: str, network: nn.Module, margin: int = 0) -> None:
        nonlocal best, applied, accuracy
        tried[name] = found = held_out_accuracy(network, data, device)
        if found.correct >= accuracy.correct + margin:
            best, applied, accuracy = network, name, found

    if with_repair:
        for name, network in _mended(model, removed, data, base, plan, device, left):
            judge(name, network)
    if with_repair and applied == NOTHING:
        left.append("repair was dropped: held-out images were no better with it")
    if applied != REFITTED:  # whose layers already answer with the original's mean and variance
        batches = data.train.batches(BATCH_SIZE, device=device, limit=NORM_IMAGES, shuffle_seed=0)
        judge(f"{applied} + BN re-estimated", reestimate_norms(best, batches, device), 1)
    top1 = {name: found.top1 for name, found in tried.items()}
    return Mended(best, applied, tried[NOTHING], accuracy, top1, tuple(left))


def _mended(
    model: nn.Module,
    removed: nn.Module,
    data: DataSet,
    base: Measured,
    plan: Plan,
    device: torch.device,
    left: list[str],
) -> Iterator[tuple[str, nn.Module]]:
    """The network repaired from the original's statistics, then refitted on its own inputs."""
    norms = find_norm_behind(model, example_of(data, device))
    structure = base.structure
    checks = list(data.held_out.batches(BATCH_SIZE, device=device, limit=CHECK_IMAGES))
    others = collect(model, structure.readers, checks, len(data.labels), device=device)
    repaired, done = repair(
        removed,
        model,
        Cut(structure, plan),
        base.statistics,
        norm_behind=norms,
        held_out=others.moments,
    )
    left += [f"not repaired: {layer}: {why}" for layer, why in done.left.items()]
    yield REPAIRED, repaired
    batches = data.train.batches(BATCH_SIZE, device=device, limit=REFIT_IMAGES, shuffle_seed=0)
    images = RefitImages([images for images, _ in batches], held_out=checks[0][0])
    refitted, notes = refit(repaired, model, Cut(structure, plan), images, norm_behind=norms)
    left += [f"not refitted: {layer}: {why}" for layer, why in notes.left.items()]
    yield REFITTED, refitted
