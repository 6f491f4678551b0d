"""Repair, refit, new norm statistics: each is applied only where held-out images are for it."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.budget import Budget
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.job import repair_and_check as mending
from prune_dl.prune.job.known import Case, Measured
from prune_dl.prune.job.repair_and_check import Repaired, repair_and_check, top1_after_repair
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import measure
from prune_dl.prune.selection.allocate import Layout, allocate
from prune_dl.prune.selection.criteria import rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn

CPU = torch.device("cpu")
Scene = tuple[Case, Measured, Plan]


@pytest.fixture(scope="module")
def scene(trained_file: Path) -> Scene:
    """A small network trained on digits, what was measured on it, and a plan."""
    data = open_data("digits")
    model = load_checkpoint(str(trained_file)).model
    structure = trace(model, torch.zeros(2, *data.input_size))
    parts = [split.batches(250, device=CPU) for split in (data.train, data.held_out)]
    measured = measure(TracedNetwork(model, structure, 10, CPU), *parts)
    base = Measured(structure, CostModel.of(model, structure), *measured)
    ranking = rank_units("response", Evidence(model, structure, base.statistics))
    plan = allocate(ranking, structure, base.cost, Budget("macs", 0.3), Layout("error"))
    return Case(model, data, CPU), base, plan


def mended(scene: Scene, **options: Any) -> tuple[nn.Module, Repaired]:
    case, measured, plan = scene
    cut = Cut(measured.structure, plan)
    removed = remove(case.model, cut)
    return removed, repair_and_check(case, measured, cut, removed, **options)


def test_the_best_on_held_out_images_is_taken_and_the_others_are_told(scene: Scene) -> None:
    removed, found = mended(scene)
    assert found.before == scene[0].of(removed).accuracy
    assert found.case.accuracy == scene[0].of(found.model).accuracy
    assert found.case.accuracy.top1 == max(found.top1.values()) == found.top1[found.applied]
    assert {"nothing", "repair", "repair + refit"} <= found.top1.keys()
    assert found.applied.startswith("repair")
    assert found.case.accuracy.correct > found.before.correct


def test_a_trial_is_what_a_job_would_make_of_the_plan(scene: Scene) -> None:
    case, measured, plan = scene
    for with_repair in (True, False):
        _, found = mended(scene, with_repair=with_repair)
        trial = top1_after_repair(case, measured, plan, with_repair=with_repair)
        assert trial == found.case.accuracy.top1


def test_without_repair_only_new_statistics_are_tried(scene: Scene) -> None:
    _, found = mended(scene, with_repair=False)
    assert found.top1.keys() == {"nothing", "nothing + BN re-estimated"}
    assert found.notes == ()


def damaged(network: nn.Module, *args: Any, given: Any, **options: Any) -> tuple[nn.Module, Any]:
    """What repair and refit return, with the answers turned round."""
    fixed, notes = given(network, *args, **options)
    fixed = copy.deepcopy(fixed)
    with torch.no_grad():
        fixed.classifier.weight.neg_()
        fixed.classifier.bias.neg_()
    return fixed, notes


def test_a_repair_that_harms_is_dropped_and_the_report_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("repair", "refit"):
        monkeypatch.setattr(mending, name, partial(damaged, given=getattr(mending, name)))
    removed, found = mended(scene)
    assert found.applied.startswith("nothing")
    assert found.case.accuracy.correct >= found.before.correct
    assert any("repair was dropped" in line for line in found.notes)
    assert set(found.model.state_dict()) == set(removed.state_dict())


def test_a_layer_that_a_change_harms_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solved on a single image, a layer fits it and answers held-out images worse."""
    monkeypatch.setattr(mending, "REFIT_IMAGES", 1)
    _, found = mended(scene)
    assert any(line.startswith("not refitted: ") and "held-out" in line for line in found.notes)
