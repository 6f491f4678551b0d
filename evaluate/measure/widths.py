"""Hardware widths of a network: those of every layer that save time against every larger one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...prune.forward import Arguments, call, input_of, watching
from ...prune.options import BenchOptions
from ...prune.progress import Progress, silent
from ...prune.structure.units import Structure
from .staircase import LayerShape, Staircase, measure_staircase

MAX_STEPS = 16
"""Most widths that one layer is timed at: a step is then 6 % of the layer or more, twice the
margin that `staircase` calls nothing."""
STEP = 8
"""No processor in use works on float32 filters in blocks that 8 does not divide."""
SECONDS_PER_WIDTH = 0.05
"""Least time of one width, besides its warming up and its least number of runs: a network has tens
of shapes with up to 16 widths each, and all of them are timed before anything is pruned."""


def layer_shapes(model: nn.Module, structure: Structure, example: Tensor) -> dict[str, LayerShape]:
    """Group -> shape of its first writer, where that is an ungrouped convolution of its own.

    A group whose units are not one filter each (shared with another layer's channels, grouped
    convolutions) is left out: its width is not the width of one layer.
    """
    shapes: dict[str, LayerShape] = {}
    modules = dict(model.named_modules())
    group_of = {
        group.writers[0]: group.name
        for group in structure.groups
        if _stands_alone(modules.get(group.writers[0]), len(group.units))
    }

    def note(name: str, arguments: Arguments, named: dict[str, Any]) -> None:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        _, channels, height, width = input_of(arguments, named).shape
        kernel, stride = int(layer.kernel_size[0]), int(layer.stride[0])
        shapes[group_of[name]] = LayerShape(channels, height, width, kernel, stride)

    with watching(model, group_of, before=note):
        call(model, example)
    return shapes


def _stands_alone(layer: nn.Module | None, num_units: int) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.out_channels == num_units


def efficient_widths(
    model: nn.Module,
    structure: Structure,
    example: Tensor,
    bench: BenchOptions,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> dict[str, tuple[int, ...]]:
    """Group -> the widths that save time against every larger one, ascending, the whole one last.

    Every layer is timed alone and with all input channels; groups that are not one
    convolution of their own are left out. Nothing in the network changes.

    Args:
        example: images (N, C, H, W) on the device of the network.
        bench: provider, images per run and threads, as the network will be run.
        cache: folder of earlier measurements; None is that of the user.

    Raises:
        UsageError: the provider would not really be used.
    """
    shapes = layer_shapes(model, structure, example)
    full = {group.name: len(group.units) for group in structure.groups}
    stairs = measure_widths(shapes, full, bench, cache=cache, progress=progress)
    return {name: stair.efficient for name, stair in stairs.items()}


def measure_widths(
    shapes: Mapping[str, LayerShape],
    full: Mapping[str, int],
    bench: BenchOptions,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Staircase]:
    """The staircase of every layer; layers of the same shape are measured once.

    Args:
        full: number of filters of each layer before pruning.
        bench: as for `efficient_widths`; its seconds are those of a whole network, and not used.
    """
    brief = replace(bench, bench_seconds=SECONDS_PER_WIDTH)
    stairs: dict[str, Staircase] = {}
    for done, (name, shape) in enumerate(shapes.items()):
        stairs[name] = measure_staircase(shape, steps(full[name]), brief, cache=cache)
        progress(done + 1, len(shapes))
    return stairs


def steps(full: int) -> list[int]:
    """At most `MAX_STEPS` widths to measure up to `full`, multiples of 8 where possible.

    >>> steps(64)
    [8, 16, 24, 32, 40, 48, 56, 64]
    >>> len(steps(512)), steps(512)[:3], steps(10)
    (16, [32, 64, 96], [8, 10])
    """
    stride = STEP * -(-full // (STEP * MAX_STEPS))
    return sorted({*range(stride, full, stride), full})
