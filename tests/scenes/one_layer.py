"""Random filters on handwritten digits."""

from torch import Tensor, nn


class OneLayer(nn.Module):
    """Random filters on the digits, their whole map read by one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.head = nn.Linear(16 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().flatten(1))
