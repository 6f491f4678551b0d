"""Torch-Pruning's groups as an oracle: the same filters go together where it works."""

from collections.abc import Callable

import pytest
import torch
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from scenes import structure_zoo as zoo
from torch import Tensor, nn

tp = pytest.importorskip("torch_pruning", reason="a development dependency: pip install .[dev]")

Cut = tuple[str, int, int]
"""Name of a weight, axis, position."""

NORMS = nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm

WORKS = (zoo.plain, zoo.residual, zoo.concatenation, zoo.squeeze_excite, zoo.channelwise_norm)


def ours(structure: Structure, layer: str, filter_index: int) -> set[Cut]:
    """Every weight position that goes with a filter."""
    unit = structure.axes[f"{layer}.weight", 0][filter_index]
    return {
        (name, axis, position)
        for (name, axis), units in structure.axes.items()
        if name.endswith("weight")
        for position in (units == unit).nonzero()[0].tolist()
    }


def theirs(model: nn.Module, inputs: Tensor, layer: str, filter_index: int) -> set[Cut]:
    """The same by the dependency graph of Torch-Pruning."""
    names = {module: name for name, module in model.named_modules()}
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=inputs)
    module = model.get_submodule(layer)
    prune = tp.prune_linear_out_channels if isinstance(module, nn.Linear) else None
    prune = prune or tp.prune_conv_out_channels
    cuts: set[Cut] = set()
    for dependency, positions in graph.get_pruning_group(module, prune, idxs=[filter_index]):
        target = dependency.target.module
        if isinstance(target, nn.Conv2d | nn.Linear | NORMS):
            axis = int("in_channels" in dependency.handler.__name__)
            axis = axis if isinstance(target, nn.Conv2d | nn.Linear) else 0
            cuts |= {(f"{names[target]}.weight", axis, int(i)) for i in positions}
    return cuts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", WORKS, ids=lambda build: build.__name__)
def test_the_same_filters_go_together(build: Callable[[], zoo.Built]) -> None:
    model, inputs = build()
    assert isinstance(inputs, Tensor)
    torch.manual_seed(0)
    structure = trace(model, inputs)
    assert len(structure.kept_whole) == 1, "all but the output can be pruned"
    for group in structure.groups:
        for filter_index in (0, 2):
            layer = group.writers[0]
            expected = theirs(model, inputs, layer, filter_index)
            assert len(expected) > 1
            assert ours(structure, layer, filter_index) == expected
