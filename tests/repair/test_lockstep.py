"""Batches side by side: the layer is solved once for all, and no thread is left after an error."""

import threading

import pytest
import torch
from prune_dl.prune.forward import evaluating
from prune_dl.prune.repair.lockstep import in_lockstep
from torch import Tensor, nn


def test_every_layer_sees_what_the_changed_layers_before_it_give() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    batches = [torch.randn(5, 3), torch.randn(2, 3)]
    seen: list[tuple[str, Tensor]] = []

    def double(layer: str, inputs: list[Tensor]) -> None:
        seen.append((layer, torch.cat(inputs)))
        model.get_submodule(layer).weight.mul_(2)

    with evaluating(model):
        in_lockstep(model, ["0", "2"], batches, double)
        assert [layer for layer, _ in seen] == ["0", "2"]
        torch.testing.assert_close(seen[0][1], torch.cat(batches))
        torch.testing.assert_close(seen[1][1], model[:2](torch.cat(batches)))


@pytest.mark.parametrize("place", ["solver", "network"])
def test_an_error_comes_out_and_leaves_no_thread(place: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4 if place == "solver" else 5, 2))
    before = threading.active_count()

    def fail(layer: str, inputs: list[Tensor]) -> None:
        if layer == "1" and place == "solver":
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        in_lockstep(model, ["0", "1"], [torch.randn(2, 3)] * 3, fail)
    assert threading.active_count() == before
    assert not model[0]._forward_pre_hooks
