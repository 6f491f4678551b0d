"""The user's own measure, as a report holds and shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

NO_NUMBER = "not a number"
"""What stands for a figure that the user's measure did not give."""


@dataclass(frozen=True)
class MetricLine:
    """The user's own measure of the network of every stage; higher is better.

    None where it gave no number.
    """

    name: str
    original: float | None
    removed: float | None
    repaired: float | None
    final: float | None

    @staticmethod
    def of(name: str, figures: Mapping[str, float]) -> "MetricLine":
        """Of figures by stage, NaN where there was no number."""
        return MetricLine(name, **{x: None if isnan(y) else y for x, y in figures.items()})

    def shown(self, stage: str) -> str:
        """The figure of a stage for people."""
        figure = getattr(self, stage)
        return NO_NUMBER if figure is None else f"{figure:.4g}"
