"""Sequential refit: the weights that stay are solved again, layer by layer, on what they now see.

Repair knows the inputs of the original network alone. Behind a thinned layer the inputs are others,
and errors add up with depth. Here each layer in turn is given the inputs X that the smaller network
really has, all earlier layers being refitted already, and the responses T of the original:

    W' = argmin ||T - X W' - b'||^2 + penalty ||W' - W||^2

with W the weights after repair. Closed form, no gradient, no labels; each layer corrects what the
earlier ones got wrong, as far as it can be known from its inputs. A layer that answers held-out
images worse than before keeps its weights.

Source: the asymmetric reconstruction of Zhang, Zou, He and Sun, arXiv 1505.06798, in the form that
He, Zhang and Sun use after removing channels, ICCV 2017.

Shapes: R rows (sampled positions of images), F inputs of one output (channels times kernel taps),
O outputs of one convolution group.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from ..forward import evaluating, unfused_attention
from ..structure.cut import Cut
from ..structure.units import Reader
from .least_squares import Residuals
from .repair import place_of_constant, reason_to_leave
from .samples import input_rows
from .visits import Kept, Layer, keep, parts, sort_out, targets_of, visit

PENALTY = 3e-3
"""Pull towards the weights that were there, as a share of the mean variance of an input."""


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


def refit(
    smaller: nn.Module,
    model: nn.Module,
    cut: Cut,
    images: Sequence[Tensor],
    *,
    norm_behind: Mapping[str, str] | None = None,
    held_out: Tensor | None = None,
    seed: int = 0,
) -> tuple[nn.Module, RefitNotes]:
    """A copy of `smaller` whose layers answer its own inputs as the original's answer theirs.

    Args:
        smaller: what `remove` and `repair` made of `model`.
        images: batches (N, ...) on the networks' device; a few thousand images are enough.
        norm_behind: layer -> batch norm that takes its constant (`norms.find_norm_behind`).
        held_out: other images (N, ...), which no layer may answer worse than before.
        seed: of the sampled positions.
    """
    fresh = copy.deepcopy(smaller)
    batches = [*images, *([] if held_out is None else [held_out])]
    with evaluating(model, fresh), unfused_attention():
        layers, left = sort_out(model, fresh, cut.structure, images)
        work = _Refit(fresh, model, cut, norm_behind or {}, len(images), seed, left)
        for part in parts(layers, fresh):
            targets = targets_of(model, part, batches, cut.kept, seed)
            visit(fresh, part, batches, partial(work.do, targets=targets))
    return fresh, RefitNotes(work.errors, left)


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
    return _Constant(tensor, sign, (keep(_tensors(model)[name], name, kept) - tensor).float())


@dataclass
class _Refit:
    """One refit under way: batches from `num_fitted` on are held out."""

    fresh: nn.Module
    model: nn.Module
    cut: Cut
    norm_behind: Mapping[str, str]
    num_fitted: int
    seed: int
    left: dict[str, str]
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)

    def do(self, layer: Layer, inputs: Iterable[Tensor], targets: dict[str, list[Tensor]]) -> None:
        """Refit one layer in place, unless held-out images are against it."""
        reader, norm = self.cut.structure.readers[layer.name], self.norm_behind.get(layer.name)
        constant = _constant(self.fresh, self.model, reader, norm, self.cut.kept)
        own = targets.pop(layer.name)
        problem = _Layerwise.of(self.fresh.get_submodule(layer.name))
        checked: list[tuple[Tensor, Tensor]] = []
        for batch, x in enumerate(inputs):
            rest_RO = own[batch] - constant.now_O.to(x.device)
            rows = input_rows(problem.module, x, layer.positions(batch, self.seed))
            for x_RF, t_RO in _side_by_side(rows, rest_RO):
                if batch < self.num_fitted:
                    problem.add(x_RF, t_RO)
                else:
                    checked.append((x_RF, t_RO))
        changes = problem.solve(with_constant=constant.tensor is not None)
        variance = _variance(own[: self.num_fitted])
        before, after = problem.energies(changes)
        worse = _worse(problem, checked, changes, own[self.num_fitted :])
        if worse:
            self.left[layer.name] = worse
            after = before
        else:
            _apply(problem.module, changes, constant)
        self.errors[layer.name] = before / variance, after / variance


@dataclass(frozen=True)
class _Layerwise:
    """The least-squares problems of one layer, one per convolution group."""

    module: nn.Module
    matrix_GOF: Tensor
    problems: tuple[Residuals, ...]

    @staticmethod
    def of(module: nn.Module) -> "_Layerwise":
        weight, groups = module.get_parameter("weight"), getattr(module, "groups", 1)
        matrix_GOF = weight.flatten(1).reshape(groups, len(weight) // groups, -1).float()
        sizes = matrix_GOF.shape[2], matrix_GOF.shape[1]
        problems = tuple(Residuals.none(*sizes, weight.device) for _ in range(groups))
        return _Layerwise(module, matrix_GOF, problems)

    def residuals(self, x_RF: Tensor, t_RO: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs of every group, and what its weights miss of the targets."""
        groups = len(self.problems)
        for own_OF, x, t in zip(
            self.matrix_GOF, x_RF.chunk(groups, 1), t_RO.chunk(groups, 1), strict=True
        ):
            yield x, t - x @ own_OF.T

    def add(self, x_RF: Tensor, t_RO: Tensor) -> None:
        for problem, (x, rest) in zip(self.problems, self.residuals(x_RF, t_RO), strict=True):
            problem.add(x, rest)

    def solve(self, *, with_constant: bool) -> list[Tensor]:
        return [problem.solve(PENALTY, with_constant=with_constant) for problem in self.problems]

    def energies(self, changes: Sequence[Tensor]) -> tuple[float, float]:
        """Squared error of all groups before and after the changes."""
        after = sum(p.energy_after(c) for p, c in zip(self.problems, changes, strict=True))
        return sum(problem.energy for problem in self.problems), after


def _worse(
    problem: _Layerwise,
    checked: Sequence[tuple[Tensor, Tensor]],
    changes: Sequence[Tensor],
    targets: Sequence[Tensor],
) -> str:
    """Why the changes should not be made, on rows that they were not solved on; empty if fine."""
    before = after = 0.0
    for x_RF, t_RO in checked:
        for change, (x, rest) in zip(changes, problem.residuals(x_RF, t_RO), strict=True):
            before += float(rest.square().sum(dtype=torch.float64))
            rest = rest - x @ change[:-1].to(x) - change[-1].to(x)
            after += float(rest.square().sum(dtype=torch.float64))
    return reason_to_leave(before, after, _variance(targets)) if checked else ""


def _apply(module: nn.Module, changes: Sequence[Tensor], constant: _Constant) -> None:
    weight = module.get_parameter("weight")
    change_OF = torch.cat([change[:-1].T for change in changes])
    weight.add_(change_OF.reshape(weight.shape).to(weight))
    if constant.tensor is not None:
        shift_O = torch.cat([change[-1] for change in changes])
        constant.tensor.add_(constant.sign * shift_O.to(constant.tensor))


def _side_by_side(parts: Iterator[Tensor], rest_RO: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    start = 0
    for rows_RF in parts:
        yield rows_RF, rest_RO[start : start + len(rows_RF)]
        start += len(rows_RF)


def _variance(targets: Sequence[Tensor]) -> float:
    """Sum of the squares of the targets around their means; never 0."""
    count = sum(len(rows_RO) for rows_RO in targets)
    mean_O = (
        torch.stack([rows_RO.sum(0, dtype=torch.float64) for rows_RO in targets]).sum(0) / count
    )
    around = sum(float((rows_RO - mean_O).square().sum()) for rows_RO in targets)
    return max(around, torch.finfo(torch.float32).tiny)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
