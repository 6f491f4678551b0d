"""Layers and stages of a report as charts: plain plotly dicts (see `page.Figure`)."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .html import Figure
from .words import percent

if TYPE_CHECKING:
    from .report import Report

NAMES_ON_A_PHONE = 8
"""Names of layers that stay apart below a chart of 390 pixels."""


def selection_along_depth(report: "Report") -> Figure | None:
    """Success rate and SNR of every measured layer, first layer left; None if none was."""
    places = depth_places((line.layer, line.reader) for line in report.depth)
    rates = {x: line.success_rate for x, line in zip(places, report.depth, strict=True)}
    ratios = {line.name: line.snr for line in report.layers if line.snr is not None}
    if not rates and not ratios:
        return None
    original = report.held_out.original or report.accuracy.original
    return depth_figure(rates, ratios, original.value if original else None)


def depth_places(points: Iterable[tuple[str | None, str]]) -> list[str]:
    """A name for every place along the depth, from (layer, reader), no name twice.

    A place is named by the layer before it, and, where that name is taken (a residual stream is
    read many times) or missing, by the reader after it.
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
    layout: dict[str, Any] = {
        "xaxis": {**_layer_axis(len(order)), "categoryarray": order, "anchor": "y2"},
        "yaxis": {"title": {"text": "success rate, %"}, "domain": [0.56, 1]},
        "yaxis2": {"title": {"text": "SNR"}, "domain": [0, 0.44]},
        "shapes": [] if level is None else [_dotted_line(100 * level)],
        "showlegend": False,
    }
    narrow = {"xaxis": layout["xaxis"] | _narrow_axis(len(order))}
    return {"data": [rate_line, snr_line], "layout": layout, "height": 440, "narrow": narrow}


def training_curve(report: "Report") -> Figure:
    """Held-out score above the loss, by epoch of the retraining."""
    lines = [line for line in report.training if line.held_out is not None]
    epochs = [line.epoch for line in report.training]
    score = _line([], [], report.held_out.name, "--final")
    score |= {"x": [line.epoch for line in lines], "y": [100 * (x.held_out or 0) for x in lines]}
    loss = {**_line([], [], "loss", "--accent"), "yaxis": "y2"}
    loss |= {"x": epochs, "y": [line.loss for line in report.training]}
    repaired = report.held_out.repaired
    layout = {
        "xaxis": {"title": {"text": "epoch"}, "anchor": "y2", "tickformat": "d", "dtick": 1}
        | ({} if len(epochs) <= 20 else {"dtick": None}),
        "yaxis": {"title": {"text": f"held-out {report.held_out.name}, %"}, "domain": [0.56, 1]},
        "yaxis2": {"title": {"text": "loss"}, "domain": [0, 0.44]},
        "shapes": [] if repaired is None else [_dotted_line(100 * repaired.value)],
        "showlegend": False,
    }
    return {"data": [score, loss], "layout": layout, "height": 380}


def training_words(report: "Report") -> str:
    """First and last epoch of the retraining in a sentence."""
    first, last = report.training[0], report.training[-1]
    ends = [
        f"epoch {x.epoch}: loss {x.loss:.3g}"
        + ("" if x.held_out is None else f", held-out {percent(x.held_out)}")
        for x in ((first, last) if len(report.training) > 1 else (first,))
    ]
    return f"Retraining, {'; '.join(ends)}"


def filters_words(report: "Report") -> str:
    """Filters of every layer before and after."""
    return "Filters before and after: " + "; ".join(
        f"{line.name} {line.num_filters} to {line.num_kept}" for line in report.layers
    )


def depth_words(report: "Report") -> str:
    """Success rate of every place along the depth."""
    places = depth_places((line.layer, line.reader) for line in report.depth)
    return "Success rate after each layer: " + "; ".join(
        f"{place} {percent(line.success_rate)}"
        for place, line in zip(places, report.depth, strict=True)
    )


def rates_words(rates: Mapping[str, float], ratios: Mapping[str, float]) -> str:
    """Success rate and SNR of every layer."""
    return "Success rate and signal-to-noise ratio of each layer: " + "; ".join(
        f"{name} {percent(rate)}" + (f", SNR {ratios[name]:.2f}" if name in ratios else "")
        for name, rate in rates.items()
    )


def stage_words(report: "Report") -> str:
    """Seconds of every stage."""
    return "Time: " + "; ".join(f"{name} {value:.1f} s" for name, value in report.seconds.items())


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


def _layer_axis(num_layers: int, most: int = 40) -> dict[str, Any]:
    """Layer names as categories: every name up to so many layers, then as many as fit."""
    axis: dict[str, Any] = {"type": "category", "tickangle": -45, "automargin": True}
    return axis | ({"tickmode": "linear", "dtick": 1} if num_layers <= most else {"nticks": most})


def _narrow_axis(num_layers: int) -> dict[str, Any]:
    """The same on a telephone."""
    step = -(-num_layers // NAMES_ON_A_PHONE)
    return _layer_axis(num_layers) | {"tickmode": "linear", "dtick": step}


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
    narrow = {"xaxis": _narrow_axis(len(names))}
    return {"data": [before, after], "layout": layout, "height": 380, "narrow": narrow}


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
