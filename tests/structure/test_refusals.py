"""What tracing and surgery refuse: one line with what was given, what was expected, what to do."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError, first_line
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import keep_everything
from prune_dl.prune.structure.surgery import keep_positions, remove
from prune_dl.prune.structure.tracing import trace as tracing
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import AxisKey
from scenes import structure_zoo as zoo
from torch import nn
from torchvision.models import detection

PARTS = ("given", "; expected ", "; give ")


def named(net: zoo.Net, **inputs: torch.Tensor) -> torch.Tensor:
    return net.head(zoo.pool(net.a(inputs["image"])))


def wordy(net: zoo.Net, *inputs: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no such size\nat layer 3")


@pytest.mark.parametrize(
    ("forward", "inputs", "reason"),
    [(named, {"picture": zoo.images()}, "'image'"), (wordy, zoo.images(), "no such size")],
)
def test_a_network_that_does_not_run_is_refused_in_one_line(
    forward: Callable[..., torch.Tensor], inputs: object, reason: str
) -> None:
    model = zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8))
    with pytest.raises(InputError) as refused:
        trace(model, inputs)
    message = str(refused.value)
    assert f"on which Net does not run ({reason}); expected" in message
    assert "\n" not in message
    assert all(part in message for part in PARTS)


def test_code_that_fixes_too_many_sizes_is_not_mistaken_for_one_that_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "MAX_SMALLER_RUNS", 0)
    with pytest.raises(InputError, match=r"^a Sequential given that fixes sizes in its code"):
        trace(*zoo.plain())


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    model, inputs = zoo.plain()
    structure = trace(model, inputs)
    model.opened = (number for number in range(3))
    with pytest.raises(InputError, match=r"^a Sequential given that cannot be copied \(cannot"):
        remove(model, Cut(structure, keep_everything(structure)))


def test_inputs_without_a_tensor_are_refused() -> None:
    def forward(net: zoo.Net, size: float) -> torch.Tensor:
        return net.head(zoo.pool(net.a(torch.ones(2, 3, 8, 8) * size)))

    model = zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8))
    for inputs in (4.0, [torch.tensor(4.0)]):
        with pytest.raises(InputError, match="example inputs given without a tensor that has axes"):
            trace(model, inputs)


def test_a_fault_of_the_tracer_is_not_put_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*args: object) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(tracing, "structure_of", faulty)
    with pytest.raises(AttributeError, match="a bug"):
        trace(*zoo.plain())


@pytest.mark.parametrize(
    ("key", "positions", "message"),
    [
        (("9.weight", 7), [0], "do not fit 9.weight; expected positions on axis 7 of shape"),
        (("0.weight", 0), [8], "do not fit 0.weight; expected positions on axis 0 of shape"),
        (("0.weight", 0), [], "do not fit 0.weight"),
        (("other.weight", 0), [0], "kept filters of other.weight given; expected only tensors"),
    ],
)
def test_kept_filters_of_another_network_are_refused(
    key: AxisKey, positions: list[int], message: str
) -> None:
    model, _ = zoo.plain()
    with pytest.raises(InputError, match=message) as refused:
        keep_positions(model, {key: np.array(positions, dtype=np.int64)})
    assert all(part in str(refused.value) for part in PARTS)
    assert isinstance(model, nn.Sequential)
    assert model[0].weight.shape[0] == 8


def test_the_first_line_of_an_error_is_never_empty() -> None:
    assert first_line(RuntimeError("\n a b \nc")) == "a b "
    assert first_line(AssertionError()) == "AssertionError"


def by_count(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
    """As a detector: what it gives has as many rows as positions are found."""
    x = net.b(net.a(x)).flatten(2).transpose(1, 2)
    return net.head(x[x.mean(dim=2) > 0])


def by_branch(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
    """As a network with an early exit."""
    x = net.a(x)
    return net.head(zoo.pool(net.b(x) if float(x[0, 0, 0, 0]) > 0 else net.c(x).relu()))


@pytest.mark.parametrize("forward", [by_count, by_branch])
def test_networks_that_branch_on_the_values_of_their_layers_are_refused(
    forward: Callable[..., torch.Tensor],
) -> None:
    torch.manual_seed(0)
    parts = {"a": zoo.conv(3, 8), "b": zoo.conv(8, 6), "c": zoo.conv(8, 6), "head": zoo.head(6)}
    model = zoo.Net(forward, **parts)
    model.a.bias.data.zero_()  # type: ignore[union-attr, operator]
    with pytest.raises(InputError) as refused:
        trace(model, zoo.images())
    assert str(refused.value) == (
        "a Net given, which branches on the values that its layers compute (as detectors do on "
        "their boxes); expected a network that runs the same operations whatever its weights are; "
        "prune its b alone: give `part=b`, or shrink that module"
    )


def test_branches_on_the_values_of_inputs_alone_are_followed() -> None:
    assert trace(*zoo.control_flow()).groups


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_scripted_part_is_named() -> None:
    model = nn.Sequential(zoo.conv(3, 8), torch.jit.script(nn.ReLU()), zoo.conv(8, 4))
    with pytest.raises(InputError, match=r"^a Sequential given whose layer 1 is a Recursive"):
        trace(model, zoo.images())


@pytest.mark.slow
def test_a_detector_is_refused_and_its_backbone_is_pruned() -> None:
    torch.manual_seed(0)
    make = detection.ssdlite320_mobilenet_v3_large
    model = make(weights=None, weights_backbone=None, num_classes=21).eval()
    images = torch.rand(1, 3, 96, 96)
    with pytest.raises(InputError, match=r"branches on the values .* prune its backbone alone"):
        trace(model, (list(images),))
    assert len(trace(model.backbone, images).groups) > 10
