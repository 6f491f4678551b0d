"""What every budget should cost: the values behind the page's budget slider."""

from dataclasses import dataclass, replace

BYTES_PER_WEIGHT = 4
"""Of a float32 file: what it grows by with every parameter."""


@dataclass(frozen=True)
class ForecastPoint:
    """One budget as it would be planned.

    Attributes:
        share: of the multiply-adds (or parameters) that was asked for.
        filters, macs, params: of its plan, which is exact.
        change: expected squared change of the outputs, relative to their squares.
        value: expected score on held-out images after the repair, a fraction.
        size_bytes: of its ONNX file; None where no file was written to start from.
    """

    share: float
    filters: int
    macs: int
    params: int
    change: float
    value: float
    size_bytes: int | None = None


@dataclass(frozen=True)
class BudgetForecast:
    """All budgets, widest first, and what the run itself measured.

    Attributes:
        kind: "macs" or "params": what the shares are of.
        measure: what the scores are called: "top-1" or "fidelity".
        num_images: held-out images that it speaks of.
        share: what this run left. measured, low, high: its held-out score after the repair, with
            the 95 % interval; the strength of the noise is fitted to this run.
    """

    kind: str
    measure: str
    num_images: int
    share: float
    measured: float
    low: float
    high: float
    points: tuple[ForecastPoint, ...]

    def with_sizes(self, size_bytes: int, params: int) -> "BudgetForecast":
        """With the size of every file, from that of one: each parameter takes four bytes.

        Args:
            size_bytes, params: of the file that is there.
        """
        return replace(
            self,
            points=tuple(
                replace(point, size_bytes=size_bytes + BYTES_PER_WEIGHT * (point.params - params))
                for point in self.points
            ),
        )

    @property
    def nearest(self) -> int:
        """Position of the budget that is nearest to this run's; the wider of two."""
        return min(range(len(self.points)), key=lambda i: abs(self.points[i].share - self.share))
