"""One least-squares problem as running sums: how far a change of weights can lower the error.

Shapes: R rows, F inputs, O outputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..centring import centred, choose_shift, less, unshifted
from ..linear_algebra import ridge_of, solve_positive


@dataclass
class Residuals:
    """Sums over rows of inputs X, less a shift, and of what is still unexplained, E. Float64.

    | attribute | shape          | meaning                                                      |
    |-----------|----------------|--------------------------------------------------------------|
    | gram_FF   | (F + 1, F + 1) | [X - s 1]^T [X - s 1]                                        |
    | cross_FO  | (F + 1, O)     | [X - s 1]^T E                                                |
    | energy    |                | sum of the squares of E                                      |
    | num_rows  |                | R                                                            |
    | shift_F   | (F,)           | s, chosen from the first rows (`centring`); None for nothing |

    `has_gram` says that the same rows come again with other E: their inputs are summed up already.
    """

    gram_FF: Tensor
    cross_FO: Tensor
    energy: float = 0.0
    num_rows: int = 0
    shift_F: Tensor | None = None
    has_gram: bool = False

    @staticmethod
    def none(num_inputs: int, num_outputs: int, device: torch.device) -> "Residuals":
        """Sums over no rows."""
        size = num_inputs + 1
        home = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        return Residuals(
            torch.zeros(size, size, dtype=torch.float64, device=home),
            torch.zeros(size, num_outputs, dtype=torch.float64, device=home),
        )

    def restart(self) -> None:
        """Get ready for the same rows with other E; nothing happens before the first ones."""
        self.has_gram = self.num_rows > 0
        self.cross_FO.zero_()
        self.energy = 0.0

    def add(self, x_RF: Tensor, rest_RO: Tensor) -> None:
        """Take in rows; products are float32, sums float64."""
        if not self.num_rows:
            self.shift_F = choose_shift(x_RF)
        x_RF = less(x_RF, self.shift_F)
        x_RF = torch.cat([x_RF, x_RF.new_ones(len(x_RF), 1)], dim=1)
        if not self.has_gram:
            self.gram_FF += (x_RF.T @ x_RF).to(self.gram_FF.device)
            self.num_rows += len(x_RF)
        self.cross_FO += (x_RF.T @ rest_RO).to(self.cross_FO.device)
        self.energy += float(rest_RO.square().sum(dtype=torch.float64))

    def solve(self, penalty: float, *, with_constant: bool = True) -> tuple[Tensor, float]:
        """The change D (F + 1, O) of weights and constant that explains most.

        With it, how many times the penalty had to be raised for a solution, 1 for not at all.

        Minimises ||E - [X 1] D||^2 + penalty * v * R * ||D without its last row||^2, v the mean
        variance of an input (second moment without a constant, and 1 where nothing varies).
        Zero is among the candidates, so the error never rises.
        """
        count = max(1, self.num_rows)
        gram_FF, cross_FO = self._sums(shifted=with_constant)
        mean_F = gram_FF[:-1, -1] / count if with_constant else 0 * gram_FF[:-1, -1]
        gram = centred(
            gram_FF[:-1, :-1] / count, mean_F, shift_n=self.shift_F if with_constant else None
        )
        rest_O = cross_FO[-1] / count
        cross = cross_FO[:-1] / count - torch.outer(mean_F, rest_O)
        cross = torch.where(gram.diagonal()[:, None] > 0, cross, 0.0)
        scale = float(gram.diagonal().mean()) if len(gram) else 0.0
        change_FO, raised = solve_positive(gram, ridge_of(penalty, scale), cross)
        constant_O = rest_O - mean_F @ change_FO if with_constant else 0 * rest_O
        if with_constant and self.shift_F is not None:
            constant_O = constant_O - self.shift_F.to(change_FO) @ change_FO
        return torch.cat([change_FO, constant_O[None]]), raised

    def _sums(self, *, shifted: bool) -> tuple[Tensor, Tensor]:
        """gram_FF and cross_FO, as they are or with the shift put back."""
        if shifted or self.shift_F is None:
            return self.gram_FF, self.cross_FO
        cross_FO = self.cross_FO.clone()
        cross_FO[:-1] += torch.outer(self.shift_F.to(cross_FO), cross_FO[-1])
        return unshifted(self.gram_FF, self.shift_F), cross_FO

    def energy_after(self, change_FO: Tensor) -> float:
        """Sum of the squares of E - [X 1] D."""
        if self.shift_F is not None:
            constant_O = change_FO[-1] + self.shift_F.to(change_FO) @ change_FO[:-1]
            change_FO = torch.cat([change_FO[:-1], constant_O[None]])
        explained = 2 * (change_FO * self.cross_FO).sum()
        used = (change_FO * (self.gram_FF @ change_FO)).sum()
        return max(0.0, self.energy - float(explained - used))
