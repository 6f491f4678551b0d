"""Sequential refit: the weights that stay are solved again, layer by layer, on what they now see.

Repair knows the inputs of the original network alone. Behind a thinned layer the inputs are others,
and errors add up with depth. Here each layer in turn is given the inputs X that the smaller network
really has, all earlier layers being refitted already, and the responses T of the original:

    W' = argmin ||T - X W' - b'||^2 + penalty ||W' - W||^2

with W the weights after repair. Closed form, no gradient, no labels; each layer corrects what the
earlier ones got wrong, as far as it can be known from its inputs.

Source: the asymmetric reconstruction of Zhang, Zou, He and Sun, arXiv 1505.06798, in the form that
He, Zhang and Sun use after removing channels, ICCV 2017.

Shapes: R rows (sampled positions of images), F inputs of one output (channels times kernel taps),
O outputs of one convolution group.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..structure.shadow import undisturbed
from ..structure.surgery import kept_indices
from ..structure.units import AxisKey, IntArray, Reader, Removal, Structure
from .least_squares import Residuals
from .repair import place_of_constant
from .samples import (
    can_sample,
    choose_positions,
    count_positions,
    halting,
    input_rows,
    inputs_of,
    output_rows,
    watching,
)

Kept = Mapping[AxisKey, IntArray]

ROWS = 24576
"""Positions that one layer is solved on, where the images have so many."""
PENALTY = 3e-3
"""Pull towards the weights that were there, as a share of the mean variance of an input."""
MAX_INPUTS = 6144
"""Layers with more inputs to an output are left alone: their Gram matrix would not be small."""
ONE_BATCH_BYTES = 640 * 2**20
"""A layer's inputs, all images together, up to which they go through the network at once."""
TARGET_BYTES = 512 * 2**20
"""Responses of the original that are held at once; more layers are done in parts."""


@dataclass(frozen=True)
class RefitNotes:
    """What was done, by layer.

    Attributes:
        error: layer -> relative squared error of its responses on the sampled positions, before
            and after: 0 is the original's response, 1 its mean.
        left: layer -> why it was left as it was.
    """

    error: Mapping[str, tuple[float, float]]
    left: Mapping[str, str]


@dataclass(frozen=True)
class _Layer:
    """A layer to be refitted.

    Attributes:
        num_positions, num_sampled: positions of an image it answers at, and those sampled.
        bytes_per_image: of what it is given in the original network.
    """

    name: str
    num_positions: int
    num_sampled: int
    bytes_per_image: int

    def positions(self, batch: int, seed: int) -> Tensor:
        return choose_positions(self.num_positions, self.num_sampled, (seed, batch))


Solve = Callable[[_Layer, Iterable[Tensor]], None]


def refit(
    smaller: nn.Module,
    model: nn.Module,
    structure: Structure,
    plan: Removal,
    images: Sequence[Tensor],
    *,
    norm_behind: Mapping[str, str] | None = None,
    seed: int = 0,
) -> tuple[nn.Module, RefitNotes]:
    """A copy of `smaller` whose layers answer its own inputs as the original's answer theirs.

    Args:
        smaller: what `remove` and `repair` made of `model` under the plan.
        images: batches (N, ...) on the networks' device; a few thousand images are enough.
        norm_behind: layer -> batch norm that takes its constant (`norms.find_norm_behind`).
        seed: of the sampled positions.
    """
    fresh = copy.deepcopy(smaller)
    kept = kept_indices(structure, plan)
    errors: dict[str, tuple[float, float]] = {}
    with undisturbed(model), undisturbed(fresh):
        model.eval()
        fresh.eval()
        layers, left = _sort_out(model, fresh, structure, images)
        for part in _parts(layers, fresh):
            targets = _targets(model, part, images, kept, seed)

            def solve(
                layer: _Layer,
                inputs: Iterable[Tensor],
                targets: dict[str, list[Tensor]] = targets,
            ) -> None:
                reader, norm = structure.readers[layer.name], (norm_behind or {}).get(layer.name)
                constant = _constant(fresh, model, reader, norm, kept)
                errors[layer.name] = _solve(
                    fresh, layer, constant, inputs, targets.pop(layer.name), seed
                )

            _visit(fresh, part, images, solve)
    return fresh, RefitNotes(errors, left)


def _sort_out(
    model: nn.Module, smaller: nn.Module, structure: Structure, images: Sequence[Tensor]
) -> tuple[list[_Layer], dict[str, str]]:
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
    with watching(
        model,
        names,
        lambda name, x, y: calls.setdefault(name, []).append(
            (count_positions(model.get_submodule(name), y), x.nbytes)
        ),
    ):
        model(images[0][:1])
    left |= {name: "it runs more than once" for name in names if len(calls.get(name, [])) != 1}
    per_image = math.ceil(ROWS / sum(len(batch) for batch in images))
    layers = [
        _Layer(name, positions, min(per_image, positions), size)
        for name in names
        if name not in left
        for positions, size in calls[name]
    ]
    return layers, left


def _parts(layers: Sequence[_Layer], smaller: nn.Module) -> Iterator[list[_Layer]]:
    """Layers whose targets are held together."""
    part: list[_Layer] = []
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


def _visit(
    fresh: nn.Module, layers: Sequence[_Layer], images: Sequence[Tensor], solve: Solve
) -> None:
    """Call `solve(layer, inputs of each batch)` in execution order; it changes the layer.

    Where the images fit through the network as one batch, it runs once and halts at every layer
    until that is solved; else it runs up to every layer again.
    """
    sizes = [len(batch) for batch in images]
    if sum(sizes) * max(layer.bytes_per_image for layer in layers) > ONE_BATCH_BYTES:
        for layer in layers:
            solve(layer, inputs_of(fresh, layer.name, images))
        return
    by_name = {layer.name: layer for layer in layers}
    with halting(fresh, list(by_name), lambda name, x: solve(by_name[name], torch.split(x, sizes))):
        fresh(torch.cat(list(images)))


def _targets(
    model: nn.Module,
    layers: Sequence[_Layer],
    images: Sequence[Tensor],
    kept: Kept,
    seed: int,
) -> dict[str, list[Tensor]]:
    """Layer -> what the original answers at the sampled positions of each batch, (R, kept O)."""
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    by_name = {layer.name: layer for layer in layers}

    def note(name: str, _: Tensor, y: Tensor) -> None:
        positions_S = by_name[name].positions(len(found[name]), seed)
        rows_RO = output_rows(model.get_submodule(name), y, positions_S)
        found[name].append(_keep(rows_RO.T, f"{name}.weight", kept).T)

    with watching(model, list(by_name), note):
        for batch in images:
            model(batch)
    return found


@dataclass(frozen=True)
class _Constant:
    """Where a layer's constant lives: a bias, or (sign -1) the running mean of its batch norm.

    `now_O` is what it adds to the layer's answer beyond what it added in the original.
    """

    tensor: Tensor | None
    sign: float
    now_O: Tensor


def _constant(
    fresh: nn.Module, model: nn.Module, reader: Reader, norm: str | None, kept: Kept
) -> _Constant:
    module = fresh.get_submodule(reader.layer)
    outputs = len(module.get_parameter("weight"))
    place = place_of_constant(fresh, reader, norm)
    if place is None:
        return _Constant(None, 1.0, torch.zeros(outputs))
    name, sign = place
    tensor = _tensors(fresh)[name]
    if sign > 0:
        return _Constant(tensor, sign, tensor.float().clone())
    return _Constant(tensor, sign, (_keep(_tensors(model)[name], name, kept) - tensor).float())


def _solve(
    fresh: nn.Module,
    layer: _Layer,
    constant: _Constant,
    inputs: Iterable[Tensor],
    targets: Sequence[Tensor],
    seed: int,
) -> tuple[float, float]:
    """Refit one layer in place; its relative error before and after."""
    module = fresh.get_submodule(layer.name)
    weight, groups = module.get_parameter("weight"), getattr(module, "groups", 1)
    matrix_GOF = weight.flatten(1).reshape(groups, len(weight) // groups, -1).float()
    problems = [
        Residuals.none(matrix_GOF.shape[2], matrix_GOF.shape[1], weight.device)
        for _ in range(groups)
    ]
    for batch, x in enumerate(inputs):
        rest_RO = targets[batch] - constant.now_O.to(weight.device)
        parts = input_rows(module, x, layer.positions(batch, seed))
        for rows_RF, rows_RO in _side_by_side(parts, rest_RO):
            for problem, own_OF, x_RF, t_RO in zip(
                problems,
                matrix_GOF,
                rows_RF.chunk(groups, 1),
                rows_RO.chunk(groups, 1),
                strict=True,
            ):
                problem.add(x_RF, t_RO - x_RF @ own_OF.T)
    changes = [
        problem.solve(PENALTY, with_constant=constant.tensor is not None) for problem in problems
    ]
    change_OF = torch.cat([change[:-1].T for change in changes])
    weight.add_(change_OF.reshape(weight.shape).to(weight))
    if constant.tensor is not None:
        shift_O = torch.cat([change[-1] for change in changes])
        constant.tensor.add_(constant.sign * shift_O.to(constant.tensor))
    variance = max(_variance(targets), torch.finfo(torch.float32).tiny)
    before = sum(problem.energy for problem in problems)
    after = sum(p.energy_after(change) for p, change in zip(problems, changes, strict=True))
    return before / variance, after / variance


def _side_by_side(parts: Iterator[Tensor], rest_RO: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    start = 0
    for rows_RF in parts:
        yield rows_RF, rest_RO[start : start + len(rows_RF)]
        start += len(rows_RF)


def _variance(targets: Sequence[Tensor]) -> float:
    """Sum of the squares of the targets around their means."""
    count = sum(len(rows_RO) for rows_RO in targets)
    mean_O = (
        torch.stack([rows_RO.sum(0, dtype=torch.float64) for rows_RO in targets]).sum(0) / count
    )
    return sum(float((rows_RO - mean_O).square().sum()) for rows_RO in targets)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _keep(tensor: Tensor, name: str, kept: Kept) -> Tensor:
    positions = kept.get((name, 0))
    if positions is None:
        return tensor
    return tensor[torch.from_numpy(positions).to(tensor.device)]
