"""compress and rank on batches that are inputs only: the network's own answers are its labels."""

from typing import Any

import pytest
import torch
from prune_dl.prune import UsageError, compress, rank
from prune_dl.prune.errors import InputError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

QUICK: dict[str, Any] = {"keep": 0.6, "epochs": 0, "device": "cpu"}


class Bare(Dataset[Tensor]):
    """Items that are tensors."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Tensor:
        return self.images[place]


@pytest.fixture
def known(trained: tuple[nn.Module, DataLoader[Any]]) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, 600 images, and its answers to them."""
    model, loader = trained
    images = torch.cat([x for x, _ in loader])
    with torch.no_grad():
        return model.eval(), images, model(images).argmax(1)


def loader(*tensors: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors), batch_size=50)


def test_answers_as_labels_and_no_labels_give_the_same_network(
    known: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, answers = known
    told = compress(
        model, loader(images[:400], answers[:400]), 10,
        held_out=loader(images[400:], answers[400:]), **QUICK,
    )  # fmt: skip
    untold = compress(model, loader(images[:400]), held_out=loader(images[400:]), **QUICK)
    assert untold.planned.plan == told.planned.plan
    state, other = untold.model.state_dict(), told.model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    ours, theirs = untold.outcome.held_out, told.outcome.held_out
    assert ours["original"].value == 1
    assert (ours["final"].value, ours["final"].name) == (theirs["final"].value, "fidelity")
    assert any("says nothing of how often that is right" in note for note in untold.warnings)


def test_the_same_holds_for_the_mechanism(known: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, answers = known
    batches = [(images[i : i + 50], answers[i : i + 50]) for i in range(0, 600, 50)]
    inputs = [x for x, _ in batches]
    without = rank(model, inputs[:8], inputs[8:], device="cpu")
    told = rank(model, batches[:8], batches[8:], 10, device="cpu")
    assert without.num_labels == 10
    for one, other in zip(without.groups, told.groups, strict=True):
        assert one is not None
        assert other is not None
        assert one.success_rate == other.success_rate


def test_labels_are_left_unread_where_the_user_says_so(
    known: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, answers = known
    wrong = (answers + 3) % 10
    found = compress(model, loader(images, wrong), unlabeled=True, **QUICK)
    assert found.outcome.held_out["original"].value == 1
    bare = compress(model, DataLoader(Bare(images), batch_size=50), **QUICK)
    assert bare.planned.plan == found.planned.plan


def test_retraining_learns_from_the_answers_alone(known: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, _ = known
    found = compress(model, loader(images), **{**QUICK, "epochs": 1, "lr": 0.001})
    assert found.outcome.held_out["retrained"].name == "fidelity"
    with pytest.raises(UsageError, match="original's answers alone"):
        compress(model, loader(images), **{**QUICK, "epochs": 1, "distill": False})


def test_what_does_not_go_together_is_refused(known: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, answers = known
    with pytest.raises(UsageError, match="without `num_labels`"):
        compress(model, loader(images, answers), **QUICK)
    with pytest.raises(UsageError, match="without `num_labels`"):
        rank(model, [(images, answers)], [(images, answers)])
    with pytest.raises(InputError, match="both alike"):
        compress(model, loader(images, answers), 10, held_out=loader(images), **QUICK)
    with pytest.raises(UsageError, match="say so themselves"):
        compress(model, loader(images, answers), 10, multi_label=True, **QUICK)
    same = images[:1].expand(100, -1, -1, -1)
    with pytest.raises(InputError, match="200 images given, all with the network's answer"):
        compress(model, loader(same), held_out=loader(same), **QUICK)


def test_several_labels_of_an_image_are_every_output_above_0(
    known: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, _ = known
    found = compress(model, loader(images), multi_label=True, **QUICK)
    score = found.outcome.held_out["final"]
    assert score.key == "fidelity"
    assert "mean average precision" in score.name
    assert found.outcome.held_out["original"].value == pytest.approx(1)
