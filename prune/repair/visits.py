"""The layers of two networks in execution order: inputs in the smaller one and outputs of the
original, at sampled positions.

Shapes: N images of a batch, R rows (sampled positions of images), O outputs.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..forward import batch_size_of, call, first_rows
from ..inputs.split import Inputs
from ..structure.units import AxisKey, IntArray, Structure
from .lockstep import in_lockstep
from .samples import (
    answering,
    can_sample,
    choose_positions,
    count_positions,
    inputs_of,
    output_rows,
)

KeptPositions = Mapping[AxisKey, IntArray]
Solution = TypeVar("Solution")
LayerInputs = Iterable[Tensor]
"""What a layer is given, batch by batch."""

MAX_INPUTS = 6144
"""Layers with more inputs to an output are left alone: the Gram matrix of 6,144 takes 302 MB in
float64, and solving it costs the third power. 3x3 convolutions of up to 682 channels come through,
so all of VGG-16."""
ROWS = 4 * MAX_INPUTS
"""Positions that one layer is solved on, where the images have so many: four for each input of the
largest layer, so that its least squares are well determined."""
INPUT_BYTES = 640 * 2**20
"""A layer's inputs, all images together, up to which they are held at once. Memory against time
only: above it the network runs up to every layer again."""
TARGET_BYTES = 512 * 2**20
"""Responses of the original that are held at once; more layers are done in parts. Memory only."""


@dataclass(frozen=True)
class Layer:
    """A layer to be refitted.

    Attributes:
        num_positions, num_sampled: positions of an image it answers at, and those sampled.
        bytes_per_image: of what it is given in the original network.
    """

    name: str
    num_positions: int
    num_sampled: int
    bytes_per_image: int

    def positions(self, batch: int, seed: int, num_positions: int) -> Tensor:
        """Positions (S,) of one batch, of so many that its images have."""
        return choose_positions(num_positions, self.num_sampled, (seed, batch))


def refittable(
    model: nn.Module, smaller: nn.Module, structure: Structure, images: Sequence[Inputs]
) -> tuple[list[Layer], dict[str, str]]:
    """Layers that can be refitted, in execution order, and why the others cannot."""
    left: dict[str, str] = {}
    calls: dict[str, list[tuple[int, int]]] = {}
    for name in structure.readers:
        module = smaller.get_submodule(name)
        reason = can_sample(module)
        if not reason and module.get_parameter("weight")[0].numel() > MAX_INPUTS:
            reason = f"it has more than {MAX_INPUTS} inputs to an output"
        if reason:
            left[name] = reason
    names = [name for name in structure.readers if name not in left]
    with answering(
        model,
        names,
        lambda name, x, y: calls.setdefault(name, []).append(
            (count_positions(model.get_submodule(name), y), x.nbytes)
        ),
    ):
        call(model, first_rows(images[0], 1))
    left |= {name: "it runs more than once" for name in names if len(calls.get(name, [])) != 1}
    per_image = math.ceil(ROWS / sum(batch_size_of(batch) for batch in images))
    layers = [
        Layer(name, positions, min(per_image, positions), size)
        for name in names
        if name not in left
        for positions, size in calls[name]
    ]
    return layers, left


def parts(layers: Sequence[Layer], smaller: nn.Module) -> Iterator[list[Layer]]:
    """Layers whose targets are held together."""
    part: list[Layer] = []
    held = 0
    for layer in layers:
        size = 4 * ROWS * len(smaller.get_parameter(f"{layer.name}.weight"))
        if part and held + size > TARGET_BYTES:
            yield part
            part, held = [], 0
        part.append(layer)
        held += size
    if part:
        yield part


def visit(
    fresh: nn.Module,
    layers: Sequence[Layer],
    images: Sequence[Inputs],
    solve: Callable[[Layer, LayerInputs, LayerInputs | None], Solution],
    streams: Mapping[str, str],
) -> dict[str, Solution]:
    """Call `solve(layer, inputs, stream)` in execution order; it changes the layer.

    Where what a layer is given fits into memory for all images, the network runs once on all
    batches and halts at every layer until that is solved (`lockstep`); else it runs up to every
    layer again.

    Args:
        streams: layer -> an earlier one whose inputs are the stream; None is given for the others.

    Returns what `solve` returned, by layer.
    """
    num_images = sum(batch_size_of(batch) for batch in images)

    def again(name: str) -> LayerInputs:
        return inputs_of(fresh, name, images)

    if num_images * max(layer.bytes_per_image for layer in layers) > INPUT_BYTES:
        return {
            layer.name: solve(
                layer,
                again(layer.name),
                again(streams[layer.name]) if layer.name in streams else None,
            )
            for layer in layers
        }
    by_name = {layer.name: layer for layer in layers}
    wanted = {name: stream for name, stream in streams.items() if name in by_name}
    done: dict[str, Solution] = {}
    held: dict[str, list[Tensor]] = {}

    def on_layer(name: str, inputs: list[Tensor]) -> None:
        if name in wanted.values():
            held[name] = inputs
        if name in by_name:
            done[name] = solve(by_name[name], inputs, held.get(wanted.get(name, "")))
        still = {stream for layer, stream in wanted.items() if layer not in done}
        for over in held.keys() - still:
            del held[over]

    in_lockstep(fresh, list({**by_name, **dict.fromkeys(wanted.values())}), images, on_layer)
    return done


@dataclass(frozen=True)
class LayerTargets:
    """What the original gives at the sampled positions of each batch, (R, kept O).

    Attributes:
        answers: of a layer.
        streams: what is added to them after the norm; empty where that is not known.
        positions: which they are, (S,) of each batch: maps of other sizes have others.
    """

    answers: list[Tensor] = field(default_factory=list)
    streams: list[Tensor] = field(default_factory=list)
    positions: list[Tensor] = field(default_factory=list)


def targets_of(
    model: nn.Module,
    layers: Sequence[Layer],
    images: Sequence[Inputs],
    kept: KeptPositions,
    seed: int,
    streams: Mapping[str, str],
) -> dict[str, LayerTargets]:
    """Layer -> what the original gives there."""
    found = {layer.name: LayerTargets() for layer in layers}
    by_name = {layer.name: layer for layer in layers}
    given: dict[str, Tensor] = {}

    def note(name: str, x: Tensor, y: Tensor) -> None:
        given[name] = x
        if name not in by_name:
            return
        module, own = model.get_submodule(name), found[name]
        positions_S = by_name[name].positions(len(own.answers), seed, count_positions(module, y))
        own.positions.append(positions_S)
        maps = {"answers": y} | ({"streams": given[streams[name]]} if name in streams else {})
        for kind, a_map in maps.items():
            rows_RO = output_rows(module, a_map, positions_S)
            getattr(own, kind).append(take_kept(rows_RO.T, f"{name}.weight", kept).T)

    watched = {**by_name, **{streams[name]: None for name in by_name if name in streams}}
    with answering(model, list(watched), note):
        for batch in images:
            call(model, batch)
            given.clear()
    return found


def take_kept(tensor: Tensor, name: str, kept: KeptPositions) -> Tensor:
    """The rows of a tensor of the original that are kept, by the tensor's name."""
    positions = kept.get((name, 0))
    if positions is None:
        return tensor
    return tensor[torch.from_numpy(positions).to(tensor.device)]
