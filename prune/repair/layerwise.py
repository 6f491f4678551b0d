"""The least squares of one layer: rows come in, a change of its weights comes out.

Shapes: R rows, F inputs of one output, O outputs of one convolution group.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..structure.units import Reader
from .least_squares import Residuals
from .repair import place_of_constant, reason_to_leave
from .visits import KeptPositions, take_kept
from .wanted import Wanted

PENALTY = 3e-3
"""Pull towards the weights that were there, as a share of the mean variance of an input.

With four rows for each input at worst (`visits.ROWS`), weights along directions that hardly vary
would follow the noise of the sample. A share of 0.003 holds directions of less variance than that
near their old weights, and leaves the others free. Every row of `docs/contest.md` that is refitted
was made with it; other shares were not compared there.
"""

Rows = tuple[int, Tensor, Wanted]
"""A batch's number, some rows of it (R, F of all convolution groups), and what is wanted there."""


@dataclass(frozen=True)
class Constant:
    """Where a layer's constant lives: a bias, or (sign -1) the running mean of its batch norm.

    `now_O` is what it adds to the layer's answer beyond what it added in the original.
    """

    tensor: Tensor | None
    sign: float
    now_O: Tensor


def constant_of(
    fresh: nn.Module, model: nn.Module, reader: Reader, norm: str | None, kept: KeptPositions
) -> Constant:
    """Where the constant of a layer of `fresh` lives, and what it adds now."""
    module = fresh.get_submodule(reader.layer)
    outputs = len(module.get_parameter("weight"))
    place = place_of_constant(fresh, reader, norm)
    if place is None:
        return Constant(None, 1.0, torch.zeros(outputs))
    name, sign = place
    tensor = _tensors(fresh)[name]
    if sign > 0:
        return Constant(tensor, sign, tensor.float().clone())
    return Constant(tensor, sign, (take_kept(_tensors(model)[name], name, kept) - tensor).float())


@dataclass(frozen=True)
class Solved:
    """What solving a layer led to.

    Attributes:
        changes: of the weights of each group, the constants last.
        raised: how many times the penalty had to be raised.
        fitted, others: squared errors before and after, on the rows that were solved on and on
            held-out ones.
    """

    changes: list[Tensor]
    raised: float
    fitted: tuple[float, float]
    others: tuple[float, float]

    def worse(self, variance: float) -> str:
        """Why the changes should not be made; empty if held-out rows are fine with them."""
        return reason_to_leave(*self.others, variance)


@dataclass(frozen=True)
class Layerwise:
    """The least-squares problems of one layer, one per convolution group."""

    module: nn.Module
    constant: Constant
    matrix_GOF: Tensor
    problems: tuple[Residuals, ...]

    @staticmethod
    def of(module: nn.Module, constant: Constant) -> "Layerwise":
        weight, groups = module.get_parameter("weight"), getattr(module, "groups", 1)
        matrix_GOF = weight.flatten(1).reshape(groups, len(weight) // groups, -1).float()
        sizes = matrix_GOF.shape[2], matrix_GOF.shape[1]
        problems = tuple(Residuals.none(*sizes, weight.device) for _ in range(groups))
        return Layerwise(module, constant, matrix_GOF, problems)

    def row_bytes(self, answers: Sequence[Tensor]) -> int:
        """Of all rows of these batches, written out."""
        groups, _, inputs = self.matrix_GOF.shape
        return 4 * groups * inputs * sum(len(rows_RO) for rows_RO in answers)

    def solve(self, rows: Iterable[Rows], num_fitted: int, passes: int) -> Solved:
        """Solve so many times; the targets follow the answers from the second time on.

        Rows of batches from `num_fitted` on are held out.
        """
        changes: list[Tensor] = []
        raised = 1.0
        others: list[Rows] = []
        for number in range(passes):
            for problem in self.problems:
                problem.restart()
            for batch, x_RF, want in rows:
                if batch < num_fitted:
                    self._add(x_RF, want if number else want.plain, changes)
                elif not number:
                    others.append((batch, x_RF, want))
            changes, raised = self._changes(raised)
        before = sum(problem.energy for problem in self.problems)
        after = sum(p.energy_after(c) for p, c in zip(self.problems, changes, strict=True))
        if passes > 1:  # the sums are of targets that followed the answers
            fitted = [row for row in rows if row[0] < num_fitted]
            before, after = self._error(fitted, []), self._error(fitted, changes)
        held_out = self._error(others, []), self._error(others, changes)
        return Solved(changes, raised, (before, after), held_out)

    def answers(self, x_RF: Tensor, changes: Sequence[Tensor] = ()) -> Tensor:
        """Of the layer as it came in, with all that its constant adds; or after changes."""
        parts = []
        for group, (x, own_OF) in enumerate(self._by_group(x_RF)):
            z = x @ own_OF.T
            if changes:
                z = z + x @ changes[group][:-1].to(x) + changes[group][-1].to(x)
            parts.append(z)
        return torch.cat(parts, dim=1) + self.constant.now_O.to(x_RF.device)

    def _by_group(self, x_RF: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(x_RF.chunk(len(self.problems), 1), self.matrix_GOF, strict=True)

    def _add(self, x_RF: Tensor, want: Wanted, changes: Sequence[Tensor]) -> None:
        """Take in rows: what the layer that came in misses of targets for the present answers."""
        start_RO, now_RO = self.answers(x_RF), self.answers(x_RF, changes)
        rest_RO = want.missing(now_RO) + (now_RO - start_RO)
        groups = len(self.problems)
        for problem, x, rest in zip(
            self.problems, x_RF.chunk(groups, 1), rest_RO.chunk(groups, 1), strict=True
        ):
            problem.add(x, rest)

    def _changes(self, raised: float) -> tuple[list[Tensor], float]:
        with_constant = self.constant.tensor is not None
        solved = [p.solve(PENALTY, with_constant=with_constant) for p in self.problems]
        return [change for change, _ in solved], max(raised, *(more for _, more in solved))

    def _error(self, rows: Iterable[Rows], changes: Sequence[Tensor]) -> float:
        return sum(_energy(want.error(self.answers(x, changes))) for _, x, want in rows)

    @property
    def rows(self) -> tuple[int, int]:
        """Rows that a group is solved on, and its inputs."""
        return self.problems[0].num_rows, self.matrix_GOF.shape[2]


def _energy(rest_RO: Tensor) -> float:
    return float(rest_RO.square().sum(dtype=torch.float64))


def apply_changes(module: nn.Module, changes: Sequence[Tensor], constant: Constant) -> None:
    """Add the changes of all groups to a layer, in place."""
    weight = module.get_parameter("weight")
    change_OF = torch.cat([change[:-1].T for change in changes])
    weight.add_(change_OF.reshape(weight.shape).to(weight))
    if constant.tensor is not None:
        shift_O = torch.cat([change[-1] for change in changes])
        constant.tensor.add_(constant.sign * shift_O.to(constant.tensor))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
