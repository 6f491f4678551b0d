"""Accuracy of every stage against what it costs, as a plain plotly dict (see `page.Figure`)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .html import Figure
from .words import STAGES, percent

if TYPE_CHECKING:
    from ...prune.scores import Score
    from .report import Report

FAR_BELOW = 0.12
"""A stage this much below the others would flatten them; it is drawn at the lower edge."""
LABEL_ROOM = 0.17
"""Share of the axis that a name needs to the left of its point."""
DODGE = {"original": 0.0, "removed": -0.03, "repaired": -0.015, "final": 0.0}
"""Sideways shift in shares of the axis, so that stages of equal cost do not hide each other."""


def accuracy_against_cost(report: "Report") -> Figure:
    """Accuracy of every stage against latency (or MACs where latency was not measured)."""
    costs, title = _costs(report)
    measured = list(_measured(report))
    span = max(costs.values()) or 1.0
    floor = _lowest_shown([accuracy for _, accuracy in measured])
    traces = [
        _stage_trace(report, stage, accuracy, costs[stage] + DODGE[stage] * span, floor)
        for stage, accuracy in measured
    ]
    top = max(accuracy.high for _, accuracy in measured)
    right_end = _right_end(report, span)
    margin = 0.08 * (top - floor) + 0.002
    layout = {
        "annotations": [_stage_label(trace, right_end) for trace in traces],
        "xaxis": {"title": {"text": title}, "range": [0, right_end]},
        "yaxis": {
            "title": {"text": f"{report.accuracy.name} on the test part, %"},
            "range": [100 * (floor - 1.6 * margin), 100 * (top + margin)],
        },
        "showlegend": False,
    }
    narrow = {"annotations": [], "showlegend": True, "legend": {"orientation": "h", "y": -0.3}}
    return {"data": traces, "layout": layout, "height": 340, "narrow": narrow}


def accuracy_words(report: "Report") -> str:
    """Every stage with its interval, in a sentence."""
    costs, title = _costs(report)
    return f"{report.accuracy.name} against {title}: " + "; ".join(
        f"{stage} {percent(score.value)} ({percent(score.low)} to {percent(score.high)}) "
        f"at {costs[stage]:.3g}"
        for stage, score in _measured(report)
    )


def _measured(report: "Report") -> Iterator[tuple[str, "Score"]]:
    for stage in STAGES:
        accuracy = getattr(report.accuracy, stage)
        if accuracy is not None:
            yield stage, accuracy


def _costs(report: "Report") -> tuple[dict[str, float], str]:
    """Where each stage stands on the horizontal axis, and the axis' title."""
    latency = report.latency_ms
    if latency is None:
        ends = (report.macs.original / 1e6, report.macs.final / 1e6)
        title = "million MACs per image"
    else:
        ends = (latency.original.p50, latency.final.p50)
        title = "latency, ms (p50; bar to p90)"
    return {stage: ends[0] if stage == "original" else ends[1] for stage in STAGES}, title


def _right_end(report: "Report", span: float) -> float:
    """Room for the names and for the whole bars to p90."""
    latency = report.latency_ms
    longest = max(latency.original.p90, latency.final.p90) if latency else 0.0
    return max(1.18 * span, 1.05 * longest)


def _lowest_shown(accuracies: list["Score"]) -> float:
    """Lower end of the vertical axis: stages far below the others do not count."""
    best = max(accuracy.value for accuracy in accuracies)
    return min(a.low for a in accuracies if a.value >= best - FAR_BELOW)


def _stage_trace(
    report: "Report", stage: str, accuracy: "Score", x: float, floor: float
) -> dict[str, Any]:
    below = accuracy.value < floor
    y = 100 * (floor if below else accuracy.value)
    label = f"{stage} {percent(accuracy.value)}"
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": [x],
        "y": [y],
        "name": stage,
        "cliponaxis": False,
        "meta": label,
        "marker": {
            "color": f"var(--{stage})",
            "size": 12,
            "symbol": "triangle-down" if below else "circle",
        },
        "hovertext": [f"{label}, 95 %: {percent(accuracy.low)} to {percent(accuracy.high)}"],
        "hoverinfo": "text",
    }
    if not below:
        up, down = accuracy.high - accuracy.value, accuracy.value - accuracy.low
        trace["error_y"] = _bar(100 * up, 100 * down, stage)
    if report.latency_ms is not None and stage in {"original", "final"}:
        latency = getattr(report.latency_ms, stage)
        trace["error_x"] = _bar(max(latency.p90 - latency.p50, 0.0), 0.0, stage)
    return trace


def _stage_label(trace: dict[str, Any], right_end: float) -> dict[str, Any]:
    """The stage's name and figure beside its point, clear of the bars and of other names."""
    stage, x = trace["name"], trace["x"][0]
    left = stage != "final" and x > LABEL_ROOM * right_end
    above_or_below = {"removed": 0, "repaired": 0 if left else -13}.get(stage, 13)
    return {
        "x": x,
        "y": trace["y"][0],
        "text": trace["meta"],
        "font": {"color": f"var(--{stage})"},
        "showarrow": False,
        "xanchor": "right" if left else "left",
        "xshift": -12 if left else 12,
        "yshift": above_or_below,
    }


def _bar(up: float, down: float, stage: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [up],
        "arrayminus": [down],
        "color": f"var(--{stage})",
        "thickness": 1.5,
        "width": 5,
    }
