"""Compiled networks: the network inside is pruned, and nothing is compiled on the way."""

from collections.abc import Callable
from typing import NoReturn

import pytest
import torch
from prune_dl.prune import rank, shrink
from prune_dl.prune.selection import criteria
from prune_dl.prune.structure.compiled import COMPILED_NOTE, uncompiled
from scenes import structure_zoo as zoo
from torch import Tensor, nn


def never(*_: object) -> NoReturn:
    raise AssertionError("it was compiled, or computed")


def whole(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend=never)  # type: ignore[call-overload, no-any-return]


def a_part(model: nn.Module) -> nn.Module:
    model.b = whole(model.b)  # type: ignore[arg-type]
    return model


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend=never)
    return model


@pytest.mark.parametrize("compile_it", [whole, a_part, in_place], ids=lambda x: x.__name__)
def test_the_network_inside_is_pruned_and_delivered(
    compile_it: Callable[[nn.Module], nn.Module],
) -> None:
    model, images = zoo.residual()
    expected = shrink(model, images, keep=0.5)
    compiled = compile_it(model)
    shrunk = shrink(compiled, images, keep=0.5)
    assert shrunk.notes == (COMPILED_NOTE,)
    assert shrunk.plan == expected.plan
    assert type(shrunk.model) is zoo.Net
    assert type(shrunk.model.b) is nn.Conv2d
    assert isinstance(images, Tensor)
    assert torch.equal(shrunk.model(images), expected.model(images))
    assert uncompiled(compiled).model is not compiled


def test_a_plain_network_is_left_as_it_is() -> None:
    model, images = zoo.residual()
    assert uncompiled(model).model is model
    assert shrink(model, images).notes == ()


@pytest.mark.filterwarnings("ignore:the network gets .* no more than chance:UserWarning")
def test_a_mechanism_is_measured_on_the_network_inside() -> None:
    model, images = zoo.residual()
    batches = [(images, torch.tensor([0, 1]))] * 4
    assert rank(whole(model), batches, batches, 5, device="cpu").groups  # type: ignore[arg-type]


def test_shrink_computes_no_error_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform shares read none, and on ResNet-50 they are nine tenths of the time."""
    model, images = zoo.residual()
    expected = shrink(model, images, keep=0.5).plan
    monkeypatch.setattr(criteria, "error_curve", never)
    monkeypatch.setattr(criteria, "problems", never)
    assert shrink(model, images, keep=0.5).plan == expected
