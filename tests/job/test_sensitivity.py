"""How much every group matters at the outputs: what is measured, and what allocation does."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.prune.budget import Budget
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.job.known import Case, Measured
from prune_dl.prune.job.plan import find_sensitivity, rank_by
from prune_dl.prune.job.sensitivity import measure_sensitivity
from prune_dl.prune.mechanism.spectrum import measure
from prune_dl.prune.options import SelectOptions
from prune_dl.prune.selection.allocate import Layout, allocate
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn

CPU = torch.device("cpu")


def scene_of(model: nn.Module) -> tuple[Case, Measured]:
    data = open_data("digits")
    case = Case(model, data, CPU)
    structure = trace(model, torch.zeros(2, *data.input_size))
    found = measure(case.traced(structure), case.training(600), case.held_out(300))
    return case, Measured(structure, CostModel.of(model, structure), *found)


@pytest.fixture(scope="module")
def scene(trained_file: Path) -> tuple[Case, Measured]:
    return scene_of(load_checkpoint(str(trained_file)).model)


def test_scale_and_common_shift_of_the_logits_do_not_count(scene: tuple[Case, Measured]) -> None:
    case, measured = scene
    before = measure_sensitivity(case, measured, rank_by(case, measured, "response", 0))
    assert before.keys() == {group.name for group in measured.structure.groups}
    assert all(weight > 0 for weight in before.values())
    louder = copy.deepcopy(case.model)
    last = [module for module in louder.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(3)
        last.bias.mul_(3)
        last.bias.add_(7)
    other, again = scene_of(louder)
    after = measure_sensitivity(other, again, rank_by(other, again, "response", 0))
    for name, weight in before.items():
        assert after[name] == pytest.approx(weight, rel=1e-2)


class Branches(nn.Module):
    """Two branches of equal layers; the classifier hears the second one ten times less."""

    def __init__(self) -> None:
        super().__init__()
        self.loud, self.quiet = (
            nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.AvgPool2d(4))
            for _ in range(2)
        )
        self.head = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.loud(images) + 0.1 * self.quiet(images)
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits


def test_a_branch_that_is_hardly_heard_gives_its_filters_first() -> None:
    torch.manual_seed(0)
    model = Branches()
    model.quiet.load_state_dict(model.loud.state_dict())
    case, measured = scene_of(model)
    select = SelectOptions(macs=0.7, allocate="output")
    weights = find_sensitivity(case, measured, select)
    assert weights["quiet.0"] / weights["loud.0"] == pytest.approx(0.01, rel=0.05)
    ranking = rank_by(case, measured, "response", 0)
    parts = measured.structure, measured.cost, Budget("macs", 0.7)
    widths = {}
    for method in ("output", "error"):
        plan = allocate(ranking, *parts, Layout(method, sensitivity=weights))
        widths[method] = {layer.name: len(layer.kept) for layer in plan.layers}
    assert widths["output"]["loud.0"] >= 15  # one filter is dead
    assert widths["output"]["quiet.0"] <= 8
    assert abs(widths["error"]["loud.0"] - widths["error"]["quiet.0"]) <= 1


def test_nothing_is_measured_where_it_is_not_asked_for(scene: tuple[Case, Measured]) -> None:
    case, measured = scene
    assert find_sensitivity(case, measured, SelectOptions(macs=0.5, allocate="error")) == {}


def test_output_without_a_sensitivity_is_refused(scene: tuple[Case, Measured]) -> None:
    case, measured = scene
    ranking = rank_by(case, measured, "l1", 0)
    with pytest.raises(UsageError, match="`allocate=output` given without the sensitivity"):
        allocate(ranking, measured.structure, measured.cost, Budget("macs", 0.5), Layout("output"))


def test_where_nothing_matters_the_relative_error_decides(scene: tuple[Case, Measured]) -> None:
    case, measured = scene
    ranking = rank_by(case, measured, "response", 0)
    names = [group.name for group in measured.structure.groups]
    parts = ranking, measured.structure, measured.cost, Budget("macs", 0.5)
    silent = allocate(*parts, Layout("output", sensitivity=dict.fromkeys(names, 0.0)))
    assert silent == allocate(*parts, Layout("error"))


def test_the_network_stays_as_it_was(scene: tuple[Case, Measured]) -> None:
    case, measured = scene
    before = copy.deepcopy(case.model.state_dict())
    measured = replace(measured, statistics=measured.statistics.without_grams)
    measure_sensitivity(case, measured, rank_by(case, measured, "response", 0))
    assert all(torch.equal(before[name], x) for name, x in case.model.state_dict().items())
    assert np.isfinite(list(measured.sensitivity.values())).all()
