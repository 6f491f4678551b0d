"""How the latency of the smaller network divides among its layers, as the page shows it."""

from typing import TYPE_CHECKING

from . import words

if TYPE_CHECKING:
    from .lines import LayerLine
    from .report import Report

LEAST_SAID = 0.001
"""Share of time that a note still mentions."""


def latency_share(report: "Report", line: "LayerLine") -> str:
    """The share of a row: of its layer, and of those that go together with it."""
    times = report.layer_times
    if times is None:
        return "–"
    names = (line.name, *(name.removesuffix(" (depthwise)") for name in line.together))
    known = [times.share_of[name] for name in names if name in times.share_of]
    return words.percent(sum(known)) if known else "–"


def latency_note(report: "Report") -> str:
    """Where the shares come from, and what is in none of them; nothing without any."""
    times = report.layer_times
    if times is None:
        return ""
    parts = [
        "Share of time: of the operators of the smaller network's file, in ONNX Runtime's profile "
        f"of {times.num_runs} runs; an activation counts with the layer that it is joined to."
    ]
    if times.other >= LEAST_SAID:
        parts.append(f"{words.percent(times.other)} goes to operators without weights.")
    if times.unsure >= LEAST_SAID:
        parts.append(
            f"{words.percent(times.unsure)} goes to operators whose layer the profile does not "
            "tell for certain: they count for none."
        )
    return " ".join(parts)
