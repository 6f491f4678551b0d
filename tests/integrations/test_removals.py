"""What a checkpoint says was removed, without any training library."""

import copy
import json
from typing import Any

import pytest
import torch
from prune_dl.prune import shrink
from prune_dl.prune.integrations.removals import PrunedAt, Removals
from prune_dl.prune.job.known import Amounts
from scenes import structure_zoo as zoo
from torch import nn


def twice_removed() -> tuple[nn.Module, nn.Module, Removals]:
    """A network, what two removals made of it, and their record."""
    torch.manual_seed(0)
    model, inputs = zoo.residual()
    whole = copy.deepcopy(model)
    removals = Removals()
    for epoch, keep, choice in ((1, 0.75, {}), (3, 0.5, {"whole": ["b"]})):
        small = shrink(model, inputs, keep=keep, **choice)
        counts = (sum(len(layer.kept) for layer in small.plan.layers), 1, 1)
        whole_count = sum(layer.num_filters for layer in small.plan.layers)
        done = PrunedAt(epoch, Amounts(whole_count, 1, 1), Amounts(*counts))
        removals = removals.then(done, model, small.model, small.cut)
        model = small.model
    return whole, model, removals


def test_a_fresh_network_is_cut_to_the_very_filters_that_two_removals_left() -> None:
    fresh, smaller, removals = twice_removed()
    removals.apply(fresh)
    for name, value in smaller.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_what_is_left_is_the_share_after_all_removals() -> None:
    steps = [(Amounts(8, 100, 60), Amounts(6, 50, 30)), (Amounts(6, 50, 30), Amounts(2, 25, 3))]
    removals = Removals(tuple(PrunedAt(i, *amounts) for i, amounts in enumerate(steps)))
    shares = [removals.left(kind) for kind in ("keep", "macs", "params")]
    assert shares == pytest.approx([0.25, 0.25, 0.05])
    assert Removals().left("macs") == 1


def test_the_record_survives_its_plain_form_and_tells_others_apart() -> None:
    _, _, removals = twice_removed()
    again = Removals.from_plain(json.loads(json.dumps(removals.to_plain())))
    assert again.is_like(removals)
    assert again.history == removals.history
    assert not Removals().is_like(removals)
    key = next(iter(removals.kept))
    other: dict[Any, Any] = {**removals.kept, key: removals.kept[key][::-1]}
    assert not Removals(kept=other).is_like(removals)


def test_a_bias_that_repair_gave_a_layer_is_there_in_the_fresh_network() -> None:
    model = nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 2))
    inputs = torch.ones(2, 3)
    small = shrink(model, inputs, keep=0.5)
    small.model[0].bias = nn.Parameter(torch.ones(4))  # type: ignore[index]
    done = PrunedAt(0, Amounts(8, 1, 1), Amounts(4, 1, 1))
    Removals().then(done, model, small.model, small.cut).apply(model)
    model.load_state_dict(small.model.state_dict())
    torch.testing.assert_close(model(inputs), small.model(inputs))
