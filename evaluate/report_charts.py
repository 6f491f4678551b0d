"""The figures of the report's page, as plain plotly dicts (see `page.Figure`).

Shapes: S labels shown in a label matrix.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .page import Figure
from .report_words import STAGES, percent

if TYPE_CHECKING:
    from .accuracy import Accuracy
    from .pictures import FilterPicture
    from .report import Report

FAR_BELOW = 0.12
"""A stage this much below the others would flatten them; it is drawn at the lower edge."""
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
    margin = 0.08 * (top - floor) + 0.002
    layout = {
        "annotations": [_stage_label(trace) for trace in traces],
        "xaxis": {"title": {"text": title}, "range": [0, 1.18 * span]},
        "yaxis": {
            "title": {"text": "top-1 on the test part, %"},
            "range": [100 * (floor - 1.6 * margin), 100 * (top + margin)],
        },
        "showlegend": False,
    }
    return {"data": traces, "layout": layout, "height": 380}


def _measured(report: "Report") -> Iterator[tuple[str, "Accuracy"]]:
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


def _lowest_shown(accuracies: list["Accuracy"]) -> float:
    """Lower end of the vertical axis: stages far below the others do not count."""
    best = max(accuracy.top1 for accuracy in accuracies)
    return min(a.low for a in accuracies if a.top1 >= best - FAR_BELOW)


def _stage_trace(
    report: "Report", stage: str, accuracy: "Accuracy", x: float, floor: float
) -> dict[str, Any]:
    below = accuracy.top1 < floor
    y = 100 * (floor if below else accuracy.top1)
    label = f"{stage} {percent(accuracy.top1)}" + (" (below the axis)" if below else "")
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
        up, down = accuracy.high - accuracy.top1, accuracy.top1 - accuracy.low
        trace["error_y"] = _bar(100 * up, 100 * down, stage)
    if report.latency_ms is not None and stage in {"original", "final"}:
        latency = getattr(report.latency_ms, stage)
        trace["error_x"] = _bar(max(latency.p90 - latency.p50, 0.0), 0.0, stage)
    return trace


def _stage_label(trace: dict[str, Any]) -> dict[str, Any]:
    """The stage's name and figure beside its point, clear of both interval bars."""
    left = trace["name"] in {"removed", "repaired"}
    return {
        "x": trace["x"][0],
        "y": trace["y"][0],
        "text": trace["meta"],
        "font": {"color": f"var(--{trace['name']})"},
        "showarrow": False,
        "xanchor": "right" if left else "left",
        "xshift": -12 if left else 10,
        "yshift": 0 if left else 13,
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


def selection_along_depth(report: "Report") -> Figure | None:
    """Success rate and SNR of every measured layer, first layer left; None if none was."""
    places = depth_places((line.layer, line.reader) for line in report.depth)
    rates = {x: line.success_rate for x, line in zip(places, report.depth, strict=True)}
    ratios = {line.name: line.snr for line in report.layers if line.snr is not None}
    if not rates and not ratios:
        return None
    original = report.accuracy.original
    return depth_figure(rates, ratios, original.top1 if original else None)


def depth_places(points: Iterable[tuple[str | None, str]]) -> list[str]:
    """A name for every place along the depth, from (layer, reader), no name twice.

    A place is called by the layer in front of it, and, where that name is taken (a residual
    stream is read many times) or missing, by the reader behind it.
    """
    names: list[str] = []
    for layer, reader in points:
        names.append(layer if layer is not None and layer not in names else f"before {reader}")
    return names


def depth_figure(
    rates: Mapping[str, float], ratios: Mapping[str, float], level: float | None = None
) -> Figure:
    """Success rate (fractions) above SNR, both by layer; a dotted line at `level`."""
    order = [*rates, *(name for name in ratios if name not in rates)]
    rate_line = _line(list(rates), [100 * r for r in rates.values()], "success rate", "--final")
    snr_line = {**_line(list(ratios), list(ratios.values()), "SNR", "--accent"), "yaxis": "y2"}
    layout = {
        "xaxis": {**_layer_axis(len(order)), "categoryarray": order, "anchor": "y2"},
        "yaxis": {"title": {"text": "success rate, %"}, "domain": [0.56, 1]},
        "yaxis2": {"title": {"text": "SNR"}, "domain": [0, 0.44]},
        "shapes": [] if level is None else [_dotted_line(100 * level)],
        "showlegend": False,
    }
    return {"data": [rate_line, snr_line], "layout": layout, "height": 440}


def _dotted_line(level: float) -> dict[str, Any]:
    line = {"color": "var(--original)", "dash": "dot", "width": 1.5}
    ends = {"x0": 0, "x1": 1, "xref": "paper", "y0": level, "y1": level, "yref": "y"}
    return {"type": "line", "line": line, **ends}


def _line(x: list[str], y: list[float], name: str, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "name": name,
        "line": {"color": f"var({colour})", "width": 2},
        "marker": {"size": 7},
    }


def _layer_axis(num_layers: int) -> dict[str, Any]:
    """Layer names as categories: every name up to forty layers, then as many as fit."""
    axis: dict[str, Any] = {"type": "category", "tickangle": -45, "automargin": True}
    all_fit = num_layers <= 40
    return axis | ({"tickmode": "linear", "dtick": 1} if all_fit else {"nticks": 30})


def filters_by_layer(report: "Report") -> Figure:
    """Filters before (wide, pale) and after (narrow, solid) per layer."""
    names = [line.name for line in report.layers]
    before = {
        "type": "bar",
        "name": "before",
        "x": names,
        "y": [line.num_filters for line in report.layers],
        "width": 0.8,
        "marker": {"color": "var(--pale)"},
    }
    after = {
        "type": "bar",
        "name": "after",
        "x": names,
        "y": [line.num_kept for line in report.layers],
        "width": 0.5,
        "marker": {"color": "var(--final)"},
    }
    layout = {
        "barmode": "overlay",
        "xaxis": _layer_axis(len(names)),
        "yaxis": {"title": {"text": "filters"}, "rangemode": "tozero"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": [before, after], "layout": layout, "height": 380}


def label_matrix(picture: "FilterPicture") -> Figure:
    """One label matrix as a heat map, every cluster outlined."""
    trace = {
        "type": "heatmap",
        "z": [list(row) for row in picture.field],
        "zmin": -1,
        "zmax": 1,
        "colorscale": [[0, "var(--cold)"], [0.5, "var(--neutral)"], [1, "var(--hot)"]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "customdata": [[[row, column] for column in picture.labels] for row in picture.labels],
        "hovertemplate": "input %{customdata[0]}, unit %{customdata[1]}: %{z:.2f}<extra></extra>",
    }
    axis = {
        "tickvals": list(range(len(picture.labels))),
        "ticktext": [_short(label) for label in picture.labels],
        "tickfont": {"size": 10 if len(picture.labels) <= 12 else 8},
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
    }
    square = {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    layout = {
        "xaxis": {**axis, "tickangle": -60, "constrain": "domain"},
        "yaxis": {**axis, "autorange": "reversed", **square},
        "shapes": _outlines(picture.clusters),
        "margin": {"l": 72, "r": 6, "t": 6, "b": 72},
    }
    return {"data": [trace], "layout": layout, "height": 268}


def _short(label: str) -> str:
    return label if len(label) <= 11 else label[:10] + "…"


def _outlines(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """One square per cluster, along the diagonal."""
    shapes, start = [], 0
    for size in sizes:
        low, high = start - 0.5, start + size - 0.5
        corners = {"x0": low, "x1": high, "y0": low, "y1": high}
        shapes.append({"type": "rect", "line": {"color": "var(--text)", "width": 2}, **corners})
        start += size
    return shapes


def stage_times(report: "Report") -> Figure:
    """Seconds per stage, first stage on top."""
    names, values = list(report.seconds), list(report.seconds.values())
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": values,
        "text": [f"{value:.1f} s" for value in values],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": "var(--accent)"},
        "width": 0.6,
    }
    layout = {
        "xaxis": {"title": {"text": "seconds"}, "range": [0, 1.15 * max([*values, 0.1])]},
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
    }
    return {"data": [trace], "layout": layout, "height": 90 + 30 * len(names)}
