"""Layers that stay whole because the user says so."""

import pytest
import torch
from prune_dl.prune import shrink
from prune_dl.prune.errors import GateError, UsageError
from prune_dl.prune.structure.choice import ASKED, Choice
from prune_dl.prune.structure.tracing.trace import trace
from scenes import structure_zoo as zoo
from scenes.plans import layers_of
from torch import Tensor, nn


def blocks() -> zoo.Built:
    """A stem, and two residual blocks; stem.0 and second convolutions share a stream."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        for block in net.blocks:  # type: ignore[union-attr]
            x = x + block(x)
        return net.head(zoo.pool(x))

    def block() -> nn.Module:
        return nn.Sequential(zoo.conv(8, 6), nn.ReLU(), zoo.conv(6, 8))

    parts = {"stem": nn.Sequential(zoo.conv(3, 8)), "blocks": nn.ModuleList([block(), block()])}
    return zoo.Net(forward, **parts, head=zoo.head(8)), zoo.images()


ALL = {"stem.0": 8, "blocks.0.0": 6, "blocks.1.0": 6}
OUTPUT = {"head": "it is the output of the network"}


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        (Choice(), {"stem.0", "blocks.0.0", "blocks.1.0"}),
        (Choice(whole=("blocks.0.0",)), {"stem.0", "blocks.1.0"}),
        (Choice(whole=("blocks.*.0",)), {"stem.0"}),
        (Choice(whole=("blocks.1",)), {"blocks.0.0"}),
        (Choice(only=("blocks",)), {"blocks.0.0", "blocks.1.0"}),
        (Choice(only=("blocks",), whole=("*.1.0",)), {"blocks.0.0"}),
        (Choice(only=("stem", "blocks.*.2")), {"stem.0"}),
    ],
)
def test_layers_stay_by_name_module_or_pattern(choice: Choice, left: set[str]) -> None:
    model, inputs = blocks()
    choice.check(model)
    structure = trace(model, inputs, choice)
    assert layers_of(structure) == {name: ALL[name] for name in ALL if name in left}
    asked = {name for name in structure.num_filters if choice.stays(name)} - {"head"}
    assert {n for n, reason in structure.kept_whole.items() if reason == ASKED} == asked


def test_one_layer_keeps_all_that_go_together_with_it() -> None:
    structure = trace(*blocks(), Choice(whole=("blocks.1.2",)))
    together = "its filters go together with those of blocks.1.2, kept whole, as you asked"
    assert structure.kept_whole == {
        "stem.0": together,
        "blocks.0.2": together,
        "blocks.1.2": ASKED,
        **OUTPUT,
    }


def test_a_norm_over_channels_that_stay_forbids_no_certificate() -> None:
    model, inputs = zoo.group_norm()
    assert trace(model, inputs).mixing
    structure = trace(model, inputs, Choice(whole=("0",)))
    assert structure.mixing == ()


@pytest.mark.parametrize("option", ["whole", "only"])
def test_names_of_no_layer_are_refused_with_the_nearest(option: str) -> None:
    model, inputs = blocks()
    with pytest.raises(UsageError) as refused:
        shrink(model, inputs, **{option: ["stem", "block.1.0"]})  # type: ignore[arg-type]
    assert str(refused.value) == (
        f"`{option}=block.1.0` given, which names no layer of this network; expected a convolution "
        "or linear layer, a module that holds some, or a pattern such as *.conv1; the nearest are "
        "blocks.1.0, blocks.1.2, blocks.0.2"
    )


def test_shrink_takes_one_name_or_several_and_a_least_width() -> None:
    model, inputs = blocks()
    widths = {x.name: len(x.kept) for x in shrink(model, inputs, 0.5, whole="stem").plan.layers}
    assert widths == {"blocks.0.0": 3, "blocks.1.0": 3}
    shrunk = shrink(model, inputs, 0.9, only=["blocks.0", "stem", "blocks.1.2"], at_least=6)
    assert {x.name: len(x.kept) for x in shrunk.plan.layers} == {"stem.0": 7, "blocks.0.0": 6}
    with torch.no_grad():
        assert shrunk.model(inputs).shape == (2, 5)
    with pytest.raises(GateError, match=r"closest possible is 0\.9; .*`at_least`"):
        shrink(model, inputs, 0.5, at_least=6)
    with pytest.raises(UsageError, match=r"^`at_least=0` given; expected 1 or more$"):
        shrink(model, inputs, 0.5, at_least=0)
