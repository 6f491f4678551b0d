"""The report as one self-contained page, `report.html`."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

from . import charts, words
from .accuracy_chart import accuracy_against_cost, accuracy_words
from .deployment import snippets
from .facts import facts
from .forecast_chart import forecast_figure, forecast_words, slider_rows
from .glossary import glossary
from .html import Figure, render
from .label_tables import label_section
from .latency_shares import latency_note, latency_share
from .matrix_chart import label_matrix, matrix_words
from .removed_words import removed_words
from .trust import trust_notes

if TYPE_CHECKING:
    from .lines import Change
    from .report import Report

STAGE_MEANING = {
    "original": "the network as given",
    "removed": "filters removed, nothing else",
    "repaired": "repaired in closed form, no gradient step",
    "final": "what was exported",
}
CUT_MEANING = ", its classifier cut to the kept labels"
"""Of the original, where some labels were kept."""


def render_page(report: "Report") -> str:
    """The page's HTML; everything on it is also in `report.json`."""
    by_output = report.held_out.by_output
    return render(
        "report.html",
        report=report,
        headline=words.headline(report),
        measure=words.sentence((report.held_out if by_output else report.accuracy).name),
        of_answers=report.accuracy.of_answers,
        by_output={name: words.percent(value, 2) for name, value in by_output.items()},
        allocation=words.allocation_name(report.allocation),
        created=report.created.replace("T", " ").replace("+00:00", " UTC"),
        also_kept=also_kept(report),
        tiles=tiles(report),
        stages=stage_rows(report),
        layers=layer_table(report),
        latency_note=latency_note(report),
        figures=figures(report),
        spoken=spoken(report),
        noun=_noun(report),
        contents=contents(report),
        glossary=glossary(report.held_out.name, has_labels=bool(report.depth)),
        document=report.to_dict(),
        notes=trust_notes(report.warnings),
        budgets=slider_rows(report),
        labels=label_section(report.label_change),
        snippets=snippets(report),
        matrices=matrices(report),
        removed_strong=[removed_words(line) for line in report.removed_strong],
        facts=facts(report),
    )


def contents(report: "Report") -> dict[str, str]:
    """Anchors of the sections that this report has, with what they are called in the contents."""
    has_answers = report.label_change is not None and report.label_change.of_answers
    has_stages = any(getattr(report.held_out, stage) for stage in words.STAGES)
    parts = {
        "stages": (f"{_noun(report)} and cost", has_stages or report.accuracy.original is not None),
        "budgets": ("Other budgets", report.forecast is not None),
        "labels": (
            "Every answer" if has_answers else "Every label",
            report.label_change is not None,
        ),
        "training": ("Retraining", bool(report.training)),
        "filters": ("Filters", True),
        "depth": ("Along the depth", bool(report.depth)),
        "single": ("Single filters", bool(report.pictures)),
        "layers": ("Layers", True),
        "deploy": ("Deploy", bool(snippets(report))),
        "facts": ("How it was made", True),
        "glossary": ("Glossary", True),
    }
    return {anchor: name for anchor, (name, is_there) in parts.items() if is_there}


def _noun(report: "Report") -> str:
    """What the score is called at the head of a section."""
    if report.held_out.by_output:
        return "Output fidelity"
    return "Fidelity" if report.accuracy.of_answers or report.held_out.of_answers else "Accuracy"


def tiles(report: "Report") -> list[dict[str, str]]:
    """The figures that matter most: name, what it was, what it is, and a note below."""
    found = [*_accuracy_tile(report), _cost_tile("MACs", report.macs)]
    found.append(_cost_tile("Parameters", report.params))
    if metric := report.metric:
        figures_shown = metric.shown("original"), metric.shown("final")
        found.insert(1, _tile(metric.name, *figures_shown, "your metric; higher is better"))
    if report.size_bytes:
        before, after = report.size_bytes.original, report.size_bytes.final
        note = f"{words.times(before / max(after, 1))} smaller" if after < before else "not smaller"
        found.append(_tile("ONNX file", words.size(before), words.size(after), note))
    return found + _latency_tile(report)


def _tile(name: str, before: str, after: str, note: str) -> dict[str, str]:
    return {"name": name, "before": before, "after": after, "note": note}


def _accuracy_tile(report: "Report") -> list[dict[str, str]]:
    before, after = report.accuracy.original, report.accuracy.final
    where = ""
    if before is None or after is None:
        before, after, where = report.held_out.original, report.held_out.final, "held-out "
    if before is None or after is None:
        return []
    note = f"95 %: {words.percent(after.low)} to {words.percent(after.high)}"
    values = words.percent(before.value), words.percent(after.value)
    return [_tile(words.sentence(where + before.name), values[0], values[1], note)]


def _cost_tile(name: str, change: "Change[int]") -> dict[str, str]:
    note = words.fewer(change)
    return _tile(name, words.count(change.original), words.count(change.final), note)


def _latency_tile(report: "Report") -> list[dict[str, str]]:
    latency, ratio = report.latency_ms, report.latency_ratio
    if latency is None or ratio is None:
        return []
    note = f"{words.speed(ratio)} (95 %: {ratio.low:.2f} to {ratio.high:.2f})"
    before, after = f"{latency.original.p50:.3g} ms", f"{latency.final.p50:.3g} ms"
    return [_tile("Latency p50", before, after, note)]


def stage_rows(report: "Report") -> list[dict[str, str]]:
    """One row per stage that was measured, on the test part or on held-out images."""
    rows = []
    for stage in words.STAGES:
        test, held_out = getattr(report.accuracy, stage), getattr(report.held_out, stage)
        if test is None and held_out is None:
            continue
        cut = CUT_MEANING if stage == "original" and report.model.all_labels is not None else ""
        meaning = STAGE_MEANING[stage] + cut
        row = {"stage": stage, "meaning": meaning, "interval": "–", "images": "–"}
        if test is not None:
            row["interval"] = words.interval(test, is_original=stage == "original")
            row["images"] = f"{test.total:,}"
        row["test"] = words.percent(test.value if test else None, 2)
        row["held_out"] = words.percent(held_out.value if held_out else None, 2)
        row["metric"] = report.metric.shown(stage) if report.metric else ""
        rows.append(row)
    return rows


def layer_table(report: "Report") -> list[dict[str, Any]]:
    """The table of layers, every cell as text; `share` is the part of the filters kept, in %;
    `mac_share` that of the final network's multiply-adds."""
    total = max(report.macs.final, 1)
    return [
        {
            "name": line.name,
            "num_filters": line.num_filters,
            "num_kept": line.num_kept,
            "share": round(100 * line.num_kept / max(line.num_filters, 1)),
            "macs": _pair(line.macs),
            "mac_share": words.percent(line.macs.final / total) if line.macs else "–",
            "params": _pair(line.params),
            "success_rate": words.percent(line.success_rate),
            "snr": _number(line.snr),
            "cluster_size": _number(line.cluster_size),
            "clusters_per_filter": _number(line.clusters_per_filter),
            "noise": _number(line.noise),
            "latency_share": latency_share(report, line),
            "why": line.why,
            "reason": line.reason,
            "together": ", ".join(line.together),
            "num_together": len(line.together),
        }
        for line in report.layers
    ]


def also_kept(report: "Report") -> dict[str, str]:
    """Reasons for keeping layers whole that the table of layers does not show already."""
    shown = {line.name for line in report.layers if line.reason}
    return {name: why for name, why in report.kept_whole.items() if name not in shown}


def _pair(change: "Change[int] | None") -> str:
    return " → ".join(words.count(n, 3) for n in (change.original, change.final)) if change else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def figures(report: "Report") -> dict[str, Figure]:
    """Charts by the name under which the template places them."""
    found = {"filters": charts.filters_by_layer(report)}
    if report.accuracy.original is not None or report.accuracy.final is not None:
        found["accuracy"] = accuracy_against_cost(report)
    depth = charts.selection_along_depth(report)
    if depth is not None:
        found["depth"] = depth
    if report.seconds:
        found["seconds"] = charts.stage_times(report)
    if report.forecast is not None:
        found["forecast"] = forecast_figure(report)
    if report.training:
        found["training"] = charts.training_curve(report)
    return found


def spoken(report: "Report") -> dict[str, str]:
    """What each chart says in a sentence, for readers who do not see it."""
    found = {"filters": charts.filters_words(report)}
    if report.accuracy.original is not None or report.accuracy.final is not None:
        found["accuracy"] = accuracy_words(report)
    if report.depth:
        found["depth"] = charts.depth_words(report)
    if report.seconds:
        found["seconds"] = charts.stage_words(report)
    if report.forecast is not None:
        found["forecast"] = forecast_words(report)
    if report.training:
        found["training"] = charts.training_words(report)
    return found


def matrices(report: "Report") -> list[dict[str, Any]]:
    """Label matrices by layer, in the order of the report."""
    return [
        {
            "layer": layer,
            "pictures": [
                {"picture": p, "figure": label_matrix(p), "words": matrix_words(p)}
                for p in pictures
            ],
        }
        for layer, pictures in groupby(report.pictures, key=lambda p: p.layer)
    ]
