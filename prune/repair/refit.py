"""Sequential refit: the weights that stay are solved again, layer by layer, on their new inputs.

Repair knows the inputs of the original network alone. After a thinned layer the inputs are others,
and errors add up with depth. Here each layer in turn is given the inputs X that it has in the
smaller network, all earlier layers being refitted already, and the responses T of the original:

    W' = argmin ||T - X W' - b'||^2 + penalty ||W' - W||^2

with W the weights after repair. Closed form, no gradient, no labels; each layer corrects the errors
of the earlier ones, as far as its inputs allow. A layer whose error on held-out images would be
larger than before keeps its weights.

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
from ..inputs.split import Inputs
from ..structure.cut import Cut
from ..structure.units import Reader
from .least_squares import Residuals
from .repair import place_of_constant, reason_to_leave
from .samples import input_rows
from .visits import KeptPositions, Layer, parts, refittable, take_kept, targets_of, visit

PENALTY = 3e-3
"""Pull towards the weights that were there, as a share of the mean variance of an input.

With four rows for each input at worst (`visits.ROWS`), weights along directions that hardly vary
would follow the noise of the sample. A share of 0.003 holds directions of less variance than that
near their old weights, and leaves the others free. Every row of `docs/contest.md` that is refitted
was made with it; other shares were not compared there.
"""


@dataclass(frozen=True)
class RefitImages:
    """What layers are solved and checked on; all on the networks' device.

    Attributes:
        fitted: batches (N, ...); a few thousand images are enough.
        held_out: other images (N, ...), on which no layer may be further from the original than
            before. None for no check.
        seed: of the sampled positions.
    """

    fitted: Sequence[Inputs]
    held_out: Inputs | None = None
    seed: int = 0

    @property
    def batches(self) -> list[Inputs]:
        """All of them, the held-out ones last."""
        return [*self.fitted, *([] if self.held_out is None else [self.held_out])]


@dataclass(frozen=True)
class RefitNotes:
    """What was done, by layer.

    Attributes:
        error: layer -> relative squared error of its responses on the sampled positions, before
            and after: 0 is the original's response, 1 its mean.
        left: layer -> why it was left as it was.
        rows: layer -> (rows that it was solved on, inputs of one output).
        raised: layer -> how many times the penalty had to be raised, 1 for not at all.
    """

    error: Mapping[str, tuple[float, float]]
    left: Mapping[str, str]
    rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    raised: Mapping[str, float] = field(default_factory=dict)


def refit(
    smaller: nn.Module,
    model: nn.Module,
    cut: Cut,
    images: RefitImages,
    *,
    norm_behind: Mapping[str, str] | None = None,
) -> tuple[nn.Module, RefitNotes]:
    """A copy of `smaller` whose layers answer its own inputs as the original's answer theirs.

    Args:
        smaller: what `remove` and `repair` made of `model`.
        norm_behind: layer -> batch norm that takes its constant (`norms.find_norm_behind`).
    """
    fresh = copy.deepcopy(smaller)
    with evaluating(model, fresh), unfused_attention():
        layers, left = refittable(model, fresh, cut.structure, images.fitted)
        work = _Refit(fresh, model, cut, norm_behind or {}, images)
        done: dict[str, _Refitted] = {}
        for part in parts(layers, fresh):
            targets = targets_of(model, part, images.batches, cut.kept, images.seed)
            done |= visit(fresh, part, images.batches, partial(work.solve, targets=targets))
    errors = {name: (layer.before, layer.after) for name, layer in done.items()}
    worse = {name: layer.worse for name, layer in done.items() if layer.worse}
    rows = {name: layer.rows for name, layer in done.items()}
    raised = {name: layer.raised for name, layer in done.items()}
    return fresh, RefitNotes(errors, {**left, **worse}, rows, raised)


@dataclass(frozen=True)
class _Constant:
    """Where a layer's constant lives: a bias, or (sign -1) the running mean of its batch norm.

    `now_O` is what it adds to the layer's answer beyond what it added in the original.
    """

    tensor: Tensor | None
    sign: float
    now_O: Tensor


def _constant(
    fresh: nn.Module, model: nn.Module, reader: Reader, norm: str | None, kept: KeptPositions
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
    return _Constant(tensor, sign, (take_kept(_tensors(model)[name], name, kept) - tensor).float())


@dataclass(frozen=True)
class _Refitted:
    """One layer: relative squared error before and after; the rest as in `RefitNotes`.

    `worse` is why it was left, empty if it was not.
    """

    before: float
    after: float
    worse: str
    rows: tuple[int, int]
    raised: float


@dataclass(frozen=True)
class _Refit:
    """One refit under way: `fresh` is the copy whose layers are solved."""

    fresh: nn.Module
    model: nn.Module
    cut: Cut
    norm_behind: Mapping[str, str]
    images: RefitImages

    def solve(
        self, layer: Layer, inputs: Iterable[Tensor], targets: Mapping[str, list[Tensor]]
    ) -> _Refitted:
        """Refit one layer in place, unless held-out images are against it."""
        reader, norm = self.cut.structure.readers[layer.name], self.norm_behind.get(layer.name)
        constant = _constant(self.fresh, self.model, reader, norm, self.cut.kept)
        own, num_fitted = targets[layer.name], len(self.images.fitted)
        problem = _Layerwise.of(self.fresh.get_submodule(layer.name))
        checked: list[tuple[Tensor, Tensor]] = []
        for batch, x in enumerate(inputs):
            rest_RO = own[batch] - constant.now_O.to(x.device)
            rows = input_rows(problem.module, x, layer.positions(batch, self.images.seed))
            for x_RF, t_RO in _side_by_side(rows, rest_RO):
                if batch < num_fitted:
                    problem.add(x_RF, t_RO)
                else:
                    checked.append((x_RF, t_RO))
        changes, raised = problem.solve(with_constant=constant.tensor is not None)
        variance = _variance(own[:num_fitted])
        before, after = problem.energies(changes)
        worse = _worse(problem, checked, changes, own[num_fitted:])
        if worse:
            return _Refitted(before / variance, before / variance, worse, problem.rows, raised)
        _apply(problem.module, changes, constant)
        return _Refitted(before / variance, after / variance, "", problem.rows, raised)


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

    def solve(self, *, with_constant: bool) -> tuple[list[Tensor], float]:
        """The change of every group, and how many times the penalty had to be raised."""
        solved = [p.solve(PENALTY, with_constant=with_constant) for p in self.problems]
        return [change for change, _ in solved], max(raised for _, raised in solved)

    @property
    def rows(self) -> tuple[int, int]:
        """Rows that a group is solved on, and its inputs."""
        return self.problems[0].num_rows, self.matrix_GOF.shape[2]

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


def _side_by_side(rows: Iterator[Tensor], rest_RO: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    start = 0
    for rows_RF in rows:
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
