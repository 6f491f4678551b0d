"""The chart of a sweep, expected against measured, its table, and what they say in words."""

from collections.abc import Sequence
from typing import Any

from . import words
from .expected_score import ExpectedScore, ForecastCheck, mean_and_largest
from .html import Figure


def expected_figure(check: ForecastCheck) -> Figure:
    """The forecast as a line, what it expects of each network, and what these measured."""
    measure = check.forecast.measure
    curve = {
        "type": "scatter",
        "mode": "lines",
        "name": f"forecast of {check.fitted_to.name}",
        "x": [100 * share for share, _ in check.curve],
        "y": [100 * value for _, value in check.curve],
        "line": {"color": "var(--accent)", "width": 2, "dash": "dot"},
        "hovertemplate": "%{x:.0f} %: %{y:.1f} % expected<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "MACs left, %"}, "autorange": "reversed"},
        "yaxis": {"title": {"text": f"held-out {measure} after repair, %"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    traces = [curve, _expected_points(check.pairs), _measured_points(check.pairs)]
    return {"data": traces, "layout": layout, "height": 360}


def _points(pairs: Sequence[ExpectedScore]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * pair.network.share for pair in pairs],
        "hovertext": [pair.network.name for pair in pairs],
    }


def _expected_points(pairs: Sequence[ExpectedScore]) -> dict[str, Any]:
    return {
        **_points(pairs),
        "name": "expected of each network",
        "y": [100 * pair.expected for pair in pairs],
        "marker": {
            "size": 12,
            "symbol": "diamond",
            "color": "var(--card)",
            "line": {"color": "var(--accent)", "width": 1.6},
        },
        "hovertemplate": "%{hovertext}: %{y:.1f} % expected<extra></extra>",
    }


def _measured_points(pairs: Sequence[ExpectedScore]) -> dict[str, Any]:
    networks = [pair.network for pair in pairs]
    return {
        **_points(pairs),
        "name": "measured (95 % interval)",
        "y": [100 * network.measured for network in networks],
        "marker": {"size": 9, "color": "var(--repaired)"},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * max(x.high - x.measured, 0.0) for x in networks],
            "arrayminus": [100 * max(x.measured - x.low, 0.0) for x in networks],
            "color": "var(--repaired)",
        },
        "hovertemplate": "%{hovertext}: %{y:.1f} % measured<extra></extra>",
    }


def expected_words(check: ForecastCheck) -> str:
    """Every point of the chart, for readers who do not see it."""
    return "; ".join(
        f"{pair.network.name}: expected {words.percent(pair.expected)}, measured "
        f"{words.percent(pair.network.measured)} with "
        f"{words.percent(pair.network.share, 0)} of the MACs"
        for pair in check.pairs
    )


def expected_summary(check: ForecastCheck) -> str:
    """How far apart they are, in one sentence; the fitted network is told apart."""
    mean, largest = mean_and_largest(check.pairs)
    text = (
        f"Over {_networks(len(check.pairs))}, measured and expected {check.forecast.measure} are "
        f"{mean:.1f} points apart in the mean and {largest:.1f} at most"
    )
    name = check.fitted_to.name
    if not check.others:
        return f"{text}; that is {name}, to which the forecast was fitted."
    if len(check.others) == len(check.pairs):
        return f"{text}."
    mean, largest = mean_and_largest(check.others)
    return (
        f"{text}; without {name}, to which the forecast was fitted, {mean:.1f} and {largest:.1f}."
    )


def _networks(count: int) -> str:
    return "1 network" if count == 1 else f"{count} networks"


def expected_table(check: ForecastCheck) -> list[dict[str, str]]:
    """One row a network, as text."""
    return [
        {
            "name": pair.network.name + (" (fitted to)" if pair.is_fitted else ""),
            "share": words.percent(pair.network.share, 0),
            "expected": words.percent(pair.expected),
            "measured": words.percent(pair.network.measured),
            "interval": f"{words.percent(pair.network.low)} to {words.percent(pair.network.high)}",
            "difference": f"{pair.difference:+.1f}",
        }
        for pair in check.pairs
    ]
