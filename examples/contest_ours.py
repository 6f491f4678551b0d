"""Our arms of the contest (see contest.py): the job's own stages, with each criterion in turn."""

import time
from dataclasses import replace

from contest_scene import Made, Scene
from prune_dl.prune.budget import Budget
from prune_dl.prune.job.budget import counted_plan
from prune_dl.prune.job.plan import rank_by
from prune_dl.prune.job.repair_and_check import repair_and_check
from prune_dl.prune.repair.norms import find_norm_behind
from prune_dl.prune.repair.repair import repair
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from torch import nn

CRITERIA = (
    *("mechanism", "response", "label-loss", "snr", "sharpness"),
    *("l1", "l2", "bn-scale", "taylor", "fpgm", "lamp", "random"),
)
ARMS = (
    *CRITERIA,
    "mechanism-repaired",
    *(f"{criterion}-unrepaired" for criterion in CRITERIA),
)


def plan_cut(scene: Scene, criterion: str, macs: float, seed: int) -> tuple[Cut, float]:
    """What the job would remove with that criterion, and the seconds of ranking and allocating."""
    start = time.perf_counter()
    case = replace(scene.case, seed=seed)
    ranking = rank_by(case, scene.measured, criterion, scene.select.images)
    plan = counted_plan(scene.measured, ranking, Budget("macs", macs), scene.select)
    return Cut(scene.measured.structure, plan), time.perf_counter() - start


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """The network of one of our arms, repaired and refitted as far as its name says."""
    criterion = arm.removesuffix("-unrepaired").removesuffix("-repaired")
    cut, ranking_seconds = plan_cut(scene, criterion, macs, seed)
    removed = remove(scene.model, cut)
    if arm.endswith("-unrepaired"):
        return Made(removed, ranking_seconds)
    start = time.perf_counter()
    repaired = _repair(scene, cut, removed, refits=not arm.endswith("-repaired"))
    return Made(repaired, ranking_seconds, time.perf_counter() - start)


def _repair(scene: Scene, cut: Cut, removed: nn.Module, *, refits: bool) -> nn.Module:
    if refits:
        return repair_and_check(scene.case, scene.measured, cut, removed).model
    norms = find_norm_behind(scene.model, scene.case.example)
    return repair(removed, scene.model, cut, scene.measured.statistics, norm_behind=norms)[0]
