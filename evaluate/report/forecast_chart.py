"""The budget slider of the page: its rows, its chart, and the command of another budget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import words
from .forecast import BudgetForecast, ForecastPoint
from .html import Figure

if TYPE_CHECKING:
    from .report import Report

BUDGETS = ("keep", "macs", "params", "latency-ms")
FOLDERS = ("out", "hub-folder")
"""Options of a command that another budget replaces: a budget, and folders of the run itself."""


def command_for(command: str, model: str, kind: str, share: float) -> str:
    """The command of a run with another budget, in another output folder.

    >>> command_for("compress(VGG, ...)", "VGG", "macs", 0.3)
    'compress(model, ..., macs=0.3)'
    """
    if command.startswith("compress("):
        return f"compress(model, ..., {kind}={share:g})"
    if not command.startswith("prune-dl -"):
        command = f"prune-dl {_flag('model')} {model}"
    given = command.split(" ")
    kept, out = _without([_flag(name) for name in (*BUDGETS, *FOLDERS)], given)
    stem = out.get(_flag("out")) or f"runs/{model.rsplit('/')[-1].split('.')[0]}"
    kept = [word for word in kept if word != _flag("resume")]
    return " ".join([*kept, f"{_flag(kind)} {share:g}", f"{_flag('out')} {stem}-{kind}-{share:g}"])


def _flag(name: str) -> str:
    return f"--{name}"


def _without(flags: Sequence[str], given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words without these flags and their one value each; and the values by flag."""
    kept: list[str] = []
    found: dict[str, str] = {}
    words_left = iter(given)
    for word in words_left:
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") not in flags:
            kept.append(word)
            continue
        found[flag] = value if equals else next(words_left, "")
    return kept, found


def slider_rows(report: "Report") -> list[dict[str, str]]:
    """What the slider shows of every budget, as text, widest first; empty without a forecast."""
    forecast = report.forecast
    if forecast is None:
        return []
    before = report.held_out.original
    whole = report.macs.original if forecast.kind == "macs" else report.params.original
    return [
        {
            "share": words.percent(_amount(point, forecast.kind) / max(whole, 1), 0),
            "value": words.percent(point.value),
            "lost": _points(point.value - before.value) if before else "–",
            "macs": words.count(point.macs),
            "params": words.count(point.params),
            "filters": f"{point.filters:,}",
            "size": words.size(point.size_bytes),
            "command": command_for(report.command, report.model.name, forecast.kind, point.share),
        }
        for point in forecast.points
    ]


def _amount(point: ForecastPoint, kind: str) -> int:
    return point.macs if kind == "macs" else point.params


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def forecast_figure(report: "Report") -> Figure:
    """Expected score of every budget as a line, and this run's as a point with its interval."""
    forecast = report.forecast
    assert forecast is not None
    whole = report.macs.original if forecast.kind == "macs" else report.params.original
    curve = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "forecast",
        "x": [100 * _amount(point, forecast.kind) / max(whole, 1) for point in forecast.points],
        "y": [100 * point.value for point in forecast.points],
        "line": {"color": "var(--accent)", "width": 2, "dash": "dot"},
        "marker": {"size": 6},
        "hovertemplate": "%{x:.0f} %: %{y:.1f} % expected<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": f"{_noun(forecast.kind)} left, %"}, "autorange": "reversed"},
        "yaxis": {"title": {"text": f"held-out {forecast.measure}, %"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": [curve, _this_run(forecast)], "layout": layout, "height": 320}


def _this_run(forecast: BudgetForecast) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "this run, repaired (95 % interval)",
        "x": [100 * forecast.share],
        "y": [100 * forecast.measured],
        "marker": {"size": 12, "color": "var(--repaired)"},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * max(forecast.high - forecast.measured, 0.0)],
            "arrayminus": [100 * max(forecast.measured - forecast.low, 0.0)],
            "color": "var(--repaired)",
        },
        "hovertemplate": "%{x:.0f} %: %{y:.1f} % measured<extra></extra>",
    }


def _noun(kind: str) -> str:
    return "MACs" if kind == "macs" else "parameters"


def forecast_words(report: "Report") -> str:
    """What the curve says, in one sentence for readers who do not see it."""
    forecast = report.forecast
    assert forecast is not None
    ends = (forecast.points[0], forecast.points[-1])
    spoken = " and ".join(
        f"{words.percent(point.value)} with {point.share:.0%} of the {_noun(forecast.kind)}"
        for point in ends
    )
    return (
        f"Expected held-out {forecast.measure}: {spoken}; this run measured "
        f"{words.percent(forecast.measured)} with {forecast.share:.0%}"
    )
