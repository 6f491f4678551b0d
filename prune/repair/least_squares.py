"""One least-squares problem as running sums: how far a change of weights can lower the error.

Shapes: R rows, F inputs, O outputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Residuals:
    """Sums over rows of inputs X and of what is still unexplained, E. Float64.

    | attribute | shape          | meaning                 |
    |-----------|----------------|-------------------------|
    | gram_FF   | (F + 1, F + 1) | [X 1]^T [X 1]           |
    | cross_FO  | (F + 1, O)     | [X 1]^T E               |
    | energy    |                | sum of the squares of E |
    | num_rows  |                | R                       |
    """

    gram_FF: Tensor
    cross_FO: Tensor
    energy: float = 0.0
    num_rows: int = 0

    @staticmethod
    def none(num_inputs: int, num_outputs: int, device: torch.device) -> "Residuals":
        """Sums over no rows."""
        size = num_inputs + 1
        home = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        return Residuals(
            torch.zeros(size, size, dtype=torch.float64, device=home),
            torch.zeros(size, num_outputs, dtype=torch.float64, device=home),
        )

    def add(self, x_RF: Tensor, rest_RO: Tensor) -> None:
        """Take in rows; products are float32, sums float64."""
        x_RF = torch.cat([x_RF, x_RF.new_ones(len(x_RF), 1)], dim=1)
        self.gram_FF += (x_RF.T @ x_RF).to(self.gram_FF.device)
        self.cross_FO += (x_RF.T @ rest_RO).to(self.cross_FO.device)
        self.energy += float(rest_RO.square().sum(dtype=torch.float64))
        self.num_rows += len(x_RF)

    def solve(self, penalty: float, *, with_constant: bool = True) -> Tensor:
        """The change D (F + 1, O) of weights and constant that explains most.

        Minimises ||E - [X 1] D||^2 + penalty * v * R * ||D without its last row||^2, v the mean
        variance of an input (second moment without a constant, and 1 where nothing varies).
        Zero is among the candidates, so the error never rises.
        """
        count = max(1, self.num_rows)
        mean_F = self.gram_FF[:-1, -1] / count if with_constant else 0 * self.gram_FF[:-1, -1]
        gram = self.gram_FF[:-1, :-1] / count - torch.outer(mean_F, mean_F)
        rest_O = self.cross_FO[-1] / count
        cross = self.cross_FO[:-1] / count - torch.outer(mean_F, rest_O)
        scale = float(gram.diagonal().mean()) if len(gram) else 0.0
        gram.diagonal().add_(penalty * scale if scale > 0 else 1.0)
        change_FO = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
        constant_O = rest_O - mean_F @ change_FO if with_constant else 0 * rest_O
        return torch.cat([change_FO, constant_O[None]])

    def energy_after(self, change_FO: Tensor) -> float:
        """Sum of the squares of E - [X 1] D."""
        explained = 2 * (change_FO * self.cross_FO).sum()
        used = (change_FO * (self.gram_FF @ change_FO)).sum()
        return max(0.0, self.energy - float(explained - used))
