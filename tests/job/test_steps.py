"""A budget reached in several steps: shares, joined plans, and the network that comes out."""

import numpy as np
import pytest
import torch
from prune_dl.prune import compress
from prune_dl.prune.command import cli
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.job.steps import join
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.surgery import remove
from torch import nn
from torch.utils.data import DataLoader


def test_two_steps_meet_the_budget_of_one_and_their_plans_join(
    trained: tuple[nn.Module, DataLoader], capsys: pytest.CaptureFixture[str]
) -> None:
    model, loader = trained
    before = [tensor.clone() for tensor in model.state_dict().values()]
    result = compress(model, loader, 10, macs=0.4, epochs=0, steps=2, progress=True)
    said = capsys.readouterr().err
    assert said.index("step 1 of 2, repair: ") < said.index("step 2 of 2, measure: ")
    cost, plan = result.planned.measured.cost, result.planned.plan
    widths = np.array([len(layer.kept) for layer in plan.layers])
    whole = np.array([layer.num_filters for layer in plan.layers])
    assert cost.macs(widths) / cost.macs(whole) == pytest.approx(0.4, rel=0.02)
    expected = remove(model, Cut(result.planned.measured.structure, plan)).state_dict()
    found = result.model.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}
    assert result.outcome.certificate.ok
    assert result.outcome.held_out["original"].correct > result.outcome.held_out["removed"].correct
    assert all(map(torch.equal, before, model.state_dict().values()))


def test_steps_are_trained_in_between(
    trained: tuple[nn.Module, DataLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prune_dl.prune.job import stages as pipeline

    model, loader = trained
    epochs, teachers = [], []

    def note(network: nn.Module, *args: object, **options: object) -> nn.Module:
        epochs.append(args[1].epochs)
        teachers.append(options["teacher"])
        return network.eval()

    monkeypatch.setattr(pipeline, "train_network", note)
    compress(model, loader, 10, keep=0.5, epochs=3, steps=3)
    assert epochs == [1, 1, 3]
    assert all(teacher is model for teacher in teachers)


def test_joined_plans_speak_of_the_first_networks_filters() -> None:
    first = Plan((LayerPlan("a", 6, (1, 2, 4, 5)), LayerPlan("b", 3, (0, 1, 2))))
    second = Plan((LayerPlan("a", 4, (0, 3)), LayerPlan("b", 3, (2,))))
    assert join(first, second) == Plan((LayerPlan("a", 6, (1, 5)), LayerPlan("b", 3, (2,))))
    for odd in (LayerPlan("b", 2, (1,)), LayerPlan("c", 3, (1,))):
        with pytest.raises(InputError, match=f"layer {odd.name}"):
            join(first, Plan((LayerPlan("a", 4, (0, 3)), odd)))


def test_a_layer_of_one_filter_stays_through_later_steps() -> None:
    first = Plan((LayerPlan("a", 6, (4,)), LayerPlan("b", 3, (0, 2))))
    second = Plan((LayerPlan("b", 2, (1,)),))
    assert join(first, second) == Plan((LayerPlan("a", 6, (4,)), LayerPlan("b", 3, (2,))))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--keep", "0.5", "--steps", "0"), "--steps 0"),
        (("--max-drop", "1", "--steps", "2"), "without a budget"),
        (("--keep", "0.5", "--steps", "2", "--resume"), "--resume"),
        (("--keep", "0.5", "--steps", "2", "--dry-run"), "--dry-run"),
    ],
)
def test_flags_that_do_not_go_with_steps_are_refused(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert cli.run(["--model", "missing.pt", *flags]) == UsageError.exit_code
    line = capsys.readouterr().err
    assert said in line
    assert len(line.strip().splitlines()) == 1
