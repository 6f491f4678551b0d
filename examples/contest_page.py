"""The contest's rows as a table and as a picture (see contest.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

BEFORE = {
    "macs": "MACs %",
    "params": "parameters %",
    "latency": "times as fast",
    "no step": "no step",
    "BN": "BN re-estimated",
}
AFTER = {"ranking": "ranking s", "repair": "repair s"}
PER_CENT = ("macs", "params", "no step", "BN", "batches", "epochs", "epoch")


class Measured(Protocol):
    """What is shown of a row: column -> its value, accuracies and shares as fractions.

    None stands for a column that could not be measured.
    """

    arm: str
    values: Mapping[str, float | None]
    error: str


def columns_of(rows: Sequence[Measured]) -> dict[str, str]:
    """The columns that rows have, with their titles: training in between, the shortest first."""
    found = dict.fromkeys(name for row in rows for name in row.values)
    trained = [name for name in found if name.split()[-1] in ("batches", "epochs", "epoch")]
    trained.sort(key=lambda name: ("epoch" in name, int(name.split()[0])))
    known = {**BEFORE, **{name: name for name in trained}, **AFTER}
    return {name: title for name, title in known.items() if name in found}


def arms_by_accuracy(rows: Sequence[Measured]) -> list[str]:
    """Arms, the best without a gradient step first."""
    best: dict[str, float] = {}
    for row in rows:
        steps = [row.values.get(name) or 0.0 for name in ("no step", "BN")]
        best[row.arm] = max(best.get(row.arm, 0.0), *steps)
    return sorted(best, key=lambda arm: -best[arm])


def values_of(rows: Sequence[Measured], arm: str, column: str) -> list[float]:
    """Of the seeds that have it, in per cent where it is a share."""
    found = [row.values.get(column) for row in rows if row.arm == arm]
    factor = 100 if column.split()[-1] in PER_CENT or column in PER_CENT else 1
    return [factor * value for value in found if value is not None]


def cell(rows: Sequence[Measured], arm: str, column: str) -> str:
    """Mean, and half the range over the seeds; "-" where it was tried in vain; else empty."""
    values = values_of(rows, arm, column)
    if not values:
        tried = any(column in row.values for row in rows if row.arm == arm)
        return "-" if tried else ""
    digits = 1 if column in AFTER else 2
    spread = (max(values) - min(values)) / 2
    more = f" ± {spread:.{digits}f}" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.{digits}f}{more}"


def table(rows: Sequence[Measured]) -> str:
    """Means over the seeds with their range, as Markdown; arms that failed with their error."""
    columns = columns_of(rows)
    lines = [f"| arm | {' | '.join(columns.values())} |", f"|---|{'---|' * len(columns)}"]
    failed = {row.arm: row.error for row in rows if row.error}
    for arm in arms_by_accuracy(rows):
        cells = ["fails" if arm in failed else cell(rows, arm, name) for name in columns]
        lines.append(f"| {' | '.join([arm, *cells])} |")
    lines += [""] * bool(failed) + [f"- {arm} fails: {error}" for arm, error in failed.items()]
    return "\n".join(lines) + "\n"


def write_page(rows: Sequence[Measured], path: Path, title: str) -> None:
    """One self-contained page: a bar for every arm and column of accuracy that was run."""
    import plotly.graph_objects as go

    arms = arms_by_accuracy(rows)
    figure = go.Figure()
    for column, name in columns_of(rows).items():
        if column in (*AFTER, "macs", "params", "latency"):
            continue
        found = [values_of(rows, arm, column) for arm in arms]
        means = [sum(values) / len(values) if values else None for values in found]
        figure.add_bar(name=name, x=arms, y=means)
    figure.update_layout(title=title, yaxis_title="test top-1, %", barmode="group")
    figure.write_html(path, include_plotlyjs=True)
