"""The contest's rows as a table and as a picture (see contest.py)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

COLUMNS = {
    "no_step": "no step",
    "norms": "BN re-estimated",
    "trained": "after SGD",
    "trained_epochs": "after epochs",
}


class Measured(Protocol):
    """What is shown of a row; accuracies are fractions."""

    arm: str
    macs_share: float | None
    no_step: float | None
    norms: float | None
    trained: float | None
    trained_epochs: float | None
    ranking_seconds: float | None
    error: str


def arms_by_accuracy(rows: Sequence[Measured]) -> list[str]:
    """Arms, the best without a gradient step first."""
    best: dict[str, float] = {}
    for row in rows:
        best[row.arm] = max(best.get(row.arm, 0.0), row.no_step or 0.0, row.norms or 0.0)
    return sorted(best, key=lambda arm: -best[arm])


def values_of(rows: Sequence[Measured], arm: str, column: str) -> list[float]:
    """Per cent, of the seeds that have it."""
    own = [getattr(row, column) for row in rows if row.arm == arm]
    return [100 * value for value in own if value is not None]


def cell(values: list[float]) -> str:
    """Mean, and half the range over the seeds."""
    if not values:
        return "not run"
    spread = (max(values) - min(values)) / 2
    return f"{sum(values) / len(values):.2f}" + (f" ± {spread:.2f}" if len(values) > 1 else "")


def table(rows: Sequence[Measured]) -> str:
    """Means over the seeds with their range, as Markdown."""
    lines = [
        f"| arm | seeds | MACs % | {' | '.join(COLUMNS.values())} | ranking s |",
        f"|---|---|---|{'---|' * len(COLUMNS)}---|",
    ]
    for arm in arms_by_accuracy(rows):
        own = [row for row in rows if row.arm == arm]
        cells = [cell(values_of(rows, arm, column)) for column in ("macs_share", *COLUMNS)]
        seconds = [row.ranking_seconds for row in own if row.ranking_seconds is not None]
        mean = f"{sum(seconds) / len(seconds):.1f}" if seconds else "not run"
        lines.append(f"| {arm} | {len(own)} | {' | '.join([*cells, mean])} |")
    failed = dict.fromkeys((row.arm, row.error) for row in rows if row.error)
    lines += [""] * bool(failed) + [f"- {arm} fails: {error}" for arm, error in failed]
    return "\n".join(lines) + "\n"


def write_page(rows: Sequence[Measured], path: Path, title: str) -> None:
    """One self-contained page: a bar for every arm and column that was run."""
    import plotly.graph_objects as go

    arms = arms_by_accuracy(rows)
    figure = go.Figure()
    for column, name in COLUMNS.items():
        found = [values_of(rows, arm, column) for arm in arms]
        if any(found):
            means = [sum(values) / len(values) if values else None for values in found]
            figure.add_bar(name=name, x=arms, y=means)
    figure.update_layout(title=title, yaxis_title="test top-1, %", barmode="group")
    figure.write_html(path, include_plotlyjs=True)
