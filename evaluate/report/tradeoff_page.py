"""A sweep as files: `tradeoff.json`, `tradeoff.csv` and the page `tradeoff.html`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...prune.files import write_json, write_text
from .expected_chart import expected_figure, expected_summary, expected_table, expected_words
from .expected_score import check_forecast, expected_document, why_no_forecast
from .html import Figure, render
from .tradeoff import Tradeoff, TradeoffPoint, pareto_front, to_csv, tradeoff_rows
from .words import count, percent, provider_name, size

FORMAT_LOOKS = {
    "float32": ("var(--final)", "circle"),
    "float16": ("var(--accent)", "square"),
    "int8": ("var(--repaired)", "diamond"),
}
OTHER_LOOKS = ("var(--original)", "cross")


def write_tradeoff(tradeoff: Tradeoff, folder: Path) -> tuple[Path, Path, Path]:
    """Write the sweep's JSON, CSV and page; no file is ever half written.

    Raises:
        ValueError: a number is NaN or infinite.
        InputError: the folder cannot be written to.
    """
    document = {
        "schema_version": 1,
        "command": tradeoff.command,
        "created": tradeoff.created,
        "provider": tradeoff.provider,
        "batch_size": tradeoff.batch_size,
        "environment": dict(tradeoff.environment),
        "warnings": list(tradeoff.warnings),
        "points": tradeoff_rows(tradeoff),
        "expected_after_repair": expected_document(tradeoff.repaired),
    }
    return (
        write_json(folder / "tradeoff.json", document),
        write_text(folder / "tradeoff.csv", to_csv(tradeoff)),
        write_text(folder / "tradeoff.html", render_tradeoff(tradeoff)),
    )


def render_tradeoff(tradeoff: Tradeoff) -> str:
    """The page's HTML: accuracy against latency and size, the forecast's check, and every row."""
    check = check_forecast(tradeoff.repaired)
    return render(
        "tradeoff.html",
        tradeoff=tradeoff,
        headline=tradeoff_headline(tradeoff),
        provider=provider_name(tradeoff.provider),
        latency_figure=_scatter(tradeoff, "latency_ms", "latency, ms (p50; bar to p90)", 1.0),
        size_figure=_scatter(tradeoff, "size_bytes", "file size, MB", 1e6),
        spoken={cost: _words(tradeoff, cost, unit) for cost, unit in SPOKEN_UNITS.items()},
        table=[_cells(row, tradeoff.measure) for row in tradeoff_rows(tradeoff)],
        measure="Fidelity" if tradeoff.of_answers else "Top-1",
        noun="Fidelity" if tradeoff.of_answers else "Accuracy",
        check=check,
        expected_figure=check and expected_figure(check),
        expected_words=check and expected_words(check),
        expected_table=expected_table(check) if check else [],
        expected_summary=(expected_summary(check) if check else why_no_forecast(tradeoff.repaired)),
    )


def tradeoff_headline(tradeoff: Tradeoff) -> str:
    """How many points there are, how many are worth having, how many failed."""
    close = "faithful" if tradeoff.of_answers else "accurate"
    failed = sum(bool(point.error) for point in tradeoff.points)
    text = (
        f"{sum(tradeoff.on_front)} of {len(tradeoff.points)} networks are worth having: "
        f"no other is as {close}, as fast and as small"
    )
    return text + (f"; {failed} failed." if failed else ".")


def _scatter(tradeoff: Tradeoff, cost: str, title: str, unit: float) -> Figure:
    formats = dict.fromkeys(point.format for point in tradeoff.points)
    traces = [_trace(tradeoff, name, cost, unit) for name in formats]
    traces = [trace for trace in traces if trace["x"]]
    widest = max((x for trace in traces for x in _right_ends(trace)), default=1.0)
    layout = {
        "xaxis": {"title": {"text": title}, "range": [-0.08 * widest, 1.12 * widest]},
        "yaxis": {"title": {"text": f"{_called(tradeoff)} of the file, held-out images, %"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
    }
    return {"data": traces, "layout": layout, "height": 420}


SPOKEN_UNITS = {"latency_ms": ("ms", 1.0), "size_bytes": ("MB", 1e6)}


def _words(tradeoff: Tradeoff, cost: str, unit: tuple[str, float]) -> str:
    """Every point of a chart, for readers who do not see it."""
    name, divisor = unit
    return "; ".join(
        f"{point.name} {point.format}: {percent(point.accuracy.value)} at "
        f"{getattr(point, cost) / divisor:.3g} {name}"
        for point in tradeoff.points
        if point.accuracy and not point.error and getattr(point, cost) is not None
    )


def _called(tradeoff: Tradeoff) -> str:
    return tradeoff.measure if tradeoff.of_answers else "top-1"


def _right_ends(trace: dict[str, Any]) -> list[float]:
    """How far to the right the points of a trace reach, with their bars."""
    bars = trace.get("error_x", {}).get("array", [0.0] * len(trace["x"]))
    return [x + bar for x, bar in zip(trace["x"], bars, strict=True)]


def _shown(tradeoff: Tradeoff, name: str, cost: str) -> Iterator[tuple[TradeoffPoint, bool]]:
    for point, on_front in zip(tradeoff.points, tradeoff.on_front, strict=True):
        drawable = point.accuracy and not point.error and getattr(point, cost) is not None
        if point.format == name and drawable:
            yield point, on_front


def _edge(tradeoff: Tradeoff, cost: str) -> set[TradeoffPoint]:
    """Points that no other beats in accuracy and this cost: up and left of them is empty."""
    points = [p for p in tradeoff.points if p.comparable and p.accuracy]
    costs = [(1 - p.accuracy.value, float(getattr(p, cost))) for p in points if p.accuracy]
    mask_P = pareto_front(np.array(costs).reshape(-1, 2))
    return {point for point, on_edge in zip(points, mask_P, strict=True) if on_edge}


def _trace(tradeoff: Tradeoff, name: str, cost: str, unit: float) -> dict[str, Any]:
    """One format's points with their intervals: filled on the front, named at the edge."""
    colour, symbol = FORMAT_LOOKS.get(name, OTHER_LOOKS)
    edge = _edge(tradeoff, cost)
    shown = list(_shown(tradeoff, name, cost))
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": [getattr(point, cost) / unit for point, _ in shown],
        "y": [100 * point.accuracy.value for point, _ in shown if point.accuracy],
        "text": [point.name if point in edge else "" for point, _ in shown],
        "textposition": "top left",
        "textfont": {"color": colour, "size": 11},
        "cliponaxis": False,
        "hovertext": [f"{point.name} ({name})" for point, _ in shown],
        "hovertemplate": "%{hovertext}: %{y:.2f} % at %{x:.4g}<extra></extra>",
        "marker": {
            "size": 11,
            "color": [colour if on_front else "var(--card)" for _, on_front in shown],
            "symbol": symbol,
            "line": {"color": colour, "width": 1.6},
        },
        "error_y": _bars(
            [100 * (p.accuracy.high - p.accuracy.value) for p, _ in shown if p.accuracy],
            [100 * (p.accuracy.value - p.accuracy.low) for p, _ in shown if p.accuracy],
            colour,
        ),
    }
    if cost == "latency_ms":
        to_p90 = [_to_p90(point) for point, _ in shown]
        trace["error_x"] = _bars(to_p90, [0.0] * len(shown), colour)
    return trace


def _to_p90(point: TradeoffPoint) -> float:
    if point.latency_ms is None or point.latency_p90_ms is None:
        return 0.0
    return max(point.latency_p90_ms - point.latency_ms, 0.0)


def _bars(up: list[float], down: list[float], colour: str) -> dict[str, Any]:
    ends = {"array": up, "arrayminus": down, "symmetric": False, "type": "data"}
    return {**ends, "color": colour, "thickness": 1, "width": 3}


def _cells(row: dict[str, Any], measure: str) -> dict[str, Any]:
    """One row of the table, as text; `measure` is the key of what networks are compared by."""
    interval = "–"
    if row[measure] is not None:
        interval = f"{percent(row[f'{measure}_low'])} to {percent(row[f'{measure}_high'])}"
    return {
        **row,
        "measured": percent(row[measure], 2),
        "interval": interval,
        "latency": "–" if row["latency_ms"] is None else f"{row['latency_ms']:.3g} ms",
        "size": size(row["size_bytes"]),
        "macs": count(row["macs"]),
        "params": count(row["params"]),
    }
