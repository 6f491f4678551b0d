"""The report's figures in plain words: headline, warnings, and numbers a person can read."""

from typing import TYPE_CHECKING

from ...prune.output_score import OUTPUT_FIDELITY
from ...prune.scores import FIDELITY
from ...prune.terminal import duration as duration

if TYPE_CHECKING:
    from ...prune.scores import Score
    from ..measure.latency_stats import Ratio
    from .lines import Change, Stages
    from .report import Report

STAGES = ("original", "removed", "repaired", "final")
FEW_IMAGES = 1000
"""With fewer, the 95 % interval of an accuracy of 90 % is wider than 3.7 points."""
NBSP = "\N{NO-BREAK SPACE}"


def headline(report: "Report") -> str:
    """One sentence: what was removed, what was gained, and what it cost in accuracy."""
    kept = report.filters.final / max(report.filters.original, 1)
    parts = [f"{fewer(report.macs)} MACs"]
    if report.latency_ratio and report.benchmark:
        bench = report.benchmark
        where = f"at batch {bench.batch_size} on {provider_name(bench.provider)}"
        parts.append(f"{speed(report.latency_ratio)} {where}")
    held_out = accuracy_change(report.held_out)
    cost = accuracy_change(report.accuracy) or (held_out and f"held-out {held_out}")
    parts += [cost] if cost else []
    return f"{kept:.2g} of the filters kept: {', '.join(parts)}."


def accuracy_change(stages: "Stages") -> str:
    """ "top-1 87.6 → 86.9 %", or nothing where an end was not measured; "fidelity 98.3 %"."""
    if stages.original is None or stages.final is None:
        return ""
    if stages.of_answers or stages.by_output:
        return f"{stages.name} {100 * stages.final.value:.1f} %"
    return f"{stages.name} {100 * stages.original.value:.1f} → {100 * stages.final.value:.1f} %"


def interval(score: "Score", *, is_original: bool = False) -> str:
    """The 95 % interval; the original's fidelity has none, where it answers as it did before."""
    if is_original and score.key in (FIDELITY, OUTPUT_FIDELITY) and score.value == 1:
        return "by definition"
    return f"{percent(score.low)} to {percent(score.high)}"


def sentence(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def fewer(change: "Change[int]") -> str:
    """How many times fewer the final network has of something."""
    if change.original == change.final:
        return "the same"
    return f"{times(change.original / max(change.final, 1))}{NBSP}fewer"


def speed(ratio: "Ratio") -> str:
    """Faster or slower only where the whole interval is above or below 1."""
    if ratio.low > 1:
        return f"{times(ratio.value)}{NBSP}faster"
    if ratio.high < 1:
        return f"{times(1 / ratio.value)}{NBSP}slower"
    return f"no faster (ratio {ratio.low:.2f} to {ratio.high:.2f})"


def times(factor: float) -> str:
    """A factor with the digits that tell it from 1."""
    return f"{factor:.1f}×" if factor >= 1.2 else f"{factor:.2f}×"


def provider_name(provider: str) -> str:
    """ "CPU" for ONNX Runtime's "CPUExecutionProvider"; other names as they are."""
    short = provider.removesuffix("ExecutionProvider")
    return short.upper() if short.lower() in {"cpu", "cuda"} else short


def allocation_name(method: str) -> str:
    """How the cut was spread over the layers, in words."""
    known = {
        "output": "relative error, weighted by how much it changes the outputs",
        "sr": "relative error, weighted by the success rate still to be gained",
        "error": "relative error",
        "uniform": "the same share for all",
    }
    return known.get(method, method)


def value(thing: object) -> str:
    """A cell of a table of facts: numbers with four digits, the rest as it is."""
    return f"{thing:.4g}" if isinstance(thing, float) else str(thing)


def count(number: float | None, digits: int = 4) -> str:
    """A count with a unit of thousands: "313.7 M"."""
    if number is None:
        return "–"
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= scale:
            return f"{number / scale:.{digits}g}{unit}"
    return f"{number:g}"


def size(num_bytes: float | None) -> str:
    """Bytes in decimal units, as file managers and download pages show them."""
    return "–" if num_bytes is None else f"{count(num_bytes)}B"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def honest_warnings(report: "Report") -> tuple[str, ...]:
    """The report's own warnings, then those that follow from its figures."""
    found = [*report.warnings, *_certificate_warnings(report), *_latency_warnings(report)]
    final = report.accuracy.final
    if final is not None and final.total < FEW_IMAGES:
        found.append(
            f"The test part has only {final.total} images: {final.name} is known to lie between "
            f"{percent(final.low)} and {percent(final.high)}, no closer."
        )
    return tuple(dict.fromkeys(sentence(text) for text in found))


def _certificate_warnings(report: "Report") -> list[str]:
    certificate = report.certificate
    if not certificate.applies:
        return [f"The exactness certificate does not apply: {certificate.reason}"]
    if not certificate.ok:
        return [f"The exactness certificate failed: {certificate.reason}"]
    return []


def _latency_warnings(report: "Report") -> list[str]:
    if report.latency_ratio is None:
        return ["Latency was not measured: fewer MACs alone promise no speed-up."]
    found = []
    if report.benchmark and report.benchmark.noisy:
        found.append("The machine was noisy (over 10 % variation): take the latencies with care.")
    if report.latency_ratio.low <= 1:
        found.append(
            "The smaller network is not measurably faster on this machine; `hardware_widths` "
            "chooses widths by measuring them."
        )
    return found
