"""`compress`: every flag of the command, by its name, on the user's own network and loader."""

from typing import Any

import pytest
import torch
from prune_dl.prune import compress
from prune_dl.prune.errors import UsageError
from prune_dl.prune.job import stages as pipeline
from prune_dl.prune.job.judge import Zoomed
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.train import TrainingData
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Trained = tuple[nn.Module, DataLoader[Any]]


def largest_first(filters: Tensor) -> Tensor:
    return -filters.abs().sum(1)


def test_a_function_ranks_and_its_name_is_in_the_result(trained: Trained) -> None:
    ours = compress(*trained, 10, keep=0.5, epochs=0, rank=largest_first)
    usual = compress(*trained, 10, keep=0.5, epochs=0, rank="l1")
    assert ours.planned.ranking.criterion == f"{__name__}:largest_first"
    for one, other in zip(ours.planned.ranking.order, usual.planned.ranking.order, strict=True):
        assert one.tolist() == other[::-1].tolist()
    with pytest.raises(UsageError, match="expected a function from the top level"):
        compress(*trained, 10, keep=0.5, epochs=0, rank=lambda filters: filters[:, 0])


def test_other_flags_are_taken_by_name(trained: Trained) -> None:
    even = compress(*trained, 10, keep=0.5, epochs=0, allocate="uniform")
    shares = {len(layer.kept) / layer.num_filters for layer in even.planned.plan.layers}
    assert shares == {0.5}
    bare = compress(*trained, 10, keep=0.5, epochs=0, repair=False)
    assert bare.outcome.facts["applied"] in ("nothing", "nothing + BN re-estimated")


def test_a_loss_of_accuracy_is_a_budget(trained: Trained) -> None:
    thin = compress(*trained, 10, epochs=0, max_drop=3.0)
    held_out = thin.outcome.held_out
    assert held_out["final"].top1 >= held_out["original"].top1 - 0.03
    assert thin.planned.left.macs < 0.9 * thin.planned.original.macs


def test_the_recipe_reaches_the_training(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes: list[Training] = []

    def note(network: nn.Module, split: object, recipe: Training, **options: object) -> nn.Module:
        recipes.append(recipe)
        return network.eval()

    monkeypatch.setattr(pipeline, "train_network", note)
    given = {"lr": 0.01, "mixup": 0.3, "averaging": 0.9, "patience": 2, "temperature": 2.0}
    compress(*trained, 10, keep=0.5, epochs=3, distill=False, **given)
    (recipe,) = recipes
    assert {name: getattr(recipe, name) for name in given} == given
    assert (recipe.epochs, recipe.batch_size, recipe.distill) == (3, 64, 0.0)


@pytest.mark.parametrize("known", [True, False])
def test_early_stopping_looks_at_images_that_the_original_does_not_know(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    model, loader = trained
    watched: list[object] = []

    def note(
        network: nn.Module, given: TrainingData, *args: object, **options: object
    ) -> nn.Module:
        watched.append(given.held_out)
        return network.eval()

    monkeypatch.setattr(pipeline, "train_network", note)
    images, labels_N = loader.dataset.tensors  # type: ignore[attr-defined]
    others = loader if known else DataLoader(TensorDataset(images.flip(2), labels_N))
    result = compress(model, loader, 10, keep=0.5, epochs=2, patience=1, held_out=others)
    assert isinstance(watched[0], Zoomed) is known
    assert any("`patience` looked at zoomed" in line for line in result.warnings) is known


def test_a_retraining_that_harms_is_dropped_and_one_that_pays_is_kept(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harm(network: nn.Module, *args: object, **options: object) -> nn.Module:
        with torch.no_grad():
            network.classifier.weight.neg_()
        return network.eval()

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_network", harm)
        harmed = compress(*trained, 10, keep=0.5, epochs=1)
    assert harmed.model is harmed.outcome.repaired
    assert any(line.startswith("retraining was dropped: held-out") for line in harmed.warnings)
    found = harmed.outcome.held_out
    assert found["final"] == found["repaired"]
    assert found["retrained"].top1 < found["repaired"].top1
    better = compress(*trained, 10, keep=0.15, epochs=8, lr=0.05, distill=False)
    found = better.outcome.held_out
    assert better.model is not better.outcome.repaired
    assert found["final"] == found["retrained"]
    assert found["final"].top1 > found["repaired"].top1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": 0.5, "learning_rate": 0.1}, r"compress\(learning_rate=...\) given"),
        ({"keep": 0.5, "lr": -1.0}, "`lr=-1.0` given; expected a number above 0"),
        ({"keep": 0.5, "macs": 0.5}, "`keep` and `macs` given"),
        ({}, "no budget given"),
        ({"keep": 0.5, "rank": "l3"}, "`rank=l3`"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    trained: Trained, options: dict[str, Any], said: str
) -> None:
    model, loader = trained
    model.register_forward_pre_hook(lambda *_: pytest.fail("the network ran"))
    with pytest.raises(UsageError, match=said):
        compress(model, loader, 10, **options)


def test_layers_stay_whole_or_wide_as_asked(trained: Trained) -> None:
    usual = compress(*trained, 10, keep=0.6, epochs=0)
    first, *others = [layer.name for layer in usual.planned.plan.layers]
    model = trained[0]
    whole = compress(*trained, 10, keep=0.6, epochs=0, whole=first, at_least=5)
    assert [layer.name for layer in whole.planned.plan.layers] == others
    assert min(len(layer.kept) for layer in whole.planned.plan.layers) >= 5
    kept = whole.model.get_submodule(first).weight
    assert kept.shape == model.get_submodule(first).weight.shape  # type: ignore[union-attr]
    only = compress(*trained, 10, keep=0.6, epochs=0, only=[first])
    assert [layer.name for layer in only.planned.plan.layers] == [first]
    with pytest.raises(UsageError, match=r"^`only=none` given, which names no layer"):
        compress(*trained, 10, keep=0.6, epochs=0, only=["none"])
