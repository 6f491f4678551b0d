"""Results as a person reads them on stdout."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ...evaluate.measure.latency import Comparison
from ...evaluate.report.report import LayerLine, Report
from ..output_score import OUTPUT_FIDELITY
from ..scores import FIDELITY, Score

WIDTH = 110


def show_document(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=1, allow_nan=False))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH).print(table)


def show_layers(lines: Sequence[LayerLine]) -> None:
    """The plan, a row a layer, and under it why layers stay whole."""
    rows = [
        (
            line.name,
            str(line.num_filters),
            str(line.num_kept),
            *(_change(line.macs, 1e6, "M") if line.macs else ("", "")),
            *(_change(line.params, 1e3, "k") if line.params else ("", "")),
            "" if line.success_rate is None else f"{line.success_rate:.3f}",
        )
        for line in lines
    ]
    columns = ("layer", "filters", "kept", "MACs", "after", "params", "after", "SR")
    show_table("plan", columns, rows)
    for line in lines:
        if line.reason:
            print(f"{line.name} stays whole: {line.reason}")


def show_comparison(comparison: Comparison) -> None:
    """Latency of every file, what it takes besides time, and where that was measured."""
    rows = comparison.rows
    times = [
        (
            row.name,
            *(f"{x:.3f}" for x in (row.p50_ms, row.p90_ms, row.p99_ms, row.mean_ms, row.std_ms)),
            f"{row.images_per_second:.0f}",
            f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})",
        )
        for row in rows
    ]
    columns = ("file", "p50 ms", "p90 ms", "p99 ms", "mean ms", "std ms", "images/s", "speed-up")
    first = rows[0]
    setting = f"{first.provider}, batch {first.batch_size}, {first.threads} threads"
    show_table(f"latency on {setting}", columns, times)
    needs = [
        (
            row.name,
            f"{row.size_bytes / 1e6:.2f}",
            f"{row.session_ms:.0f}",
            "unknown" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:.0f}",
            f"{row.num_runs}",
        )
        for row in rows
    ]
    show_table("what a file needs", ("file", "MB", "ms to open", "peak MB", "timed runs"), needs)
    print("measured on " + "; ".join(f"{k}: {v}" for k, v in comparison.environment.items()))
    if comparison.noisy:
        print("note: the machine is noisy; runs varied by more than 10 %")


def show_report(report: Report) -> None:
    """The few figures that matter, before and after."""
    accuracy, latency, size = report.accuracy, report.latency_ms, report.size_bytes
    metric = report.metric
    rows = [
        (
            stage,
            f"{100 * value.value:.2f}",
            _interval(value, stage),
            *([f"{getattr(metric, stage):.4g}"] if metric else []),
        )
        for stage in ("original", "removed", "repaired", "final")
        if (value := getattr(accuracy, stage)) is not None
    ]
    measure = accuracy.name
    columns = ("stage", measure, "95 % interval", *([metric.name] if metric else []))
    show_table(f"{measure} on the test part, %", columns, rows)
    rows = [
        ("filters", f"{report.filters.original}", f"{report.filters.final}"),
        ("MACs", *_change(report.macs, 1e6, "M")),
        ("parameters", *_change(report.params, 1e6, "M")),
    ]
    if size is not None:
        rows.append(("ONNX file", *_change(size, 1e6, "MB")))
    if latency is not None:
        p50 = (f"{latency.original.p50:.2f} ms", f"{latency.final.p50:.2f} ms")
        rows.append(("latency p50", *p50))
    show_table("cost", ("", "original", "final"), rows)
    if report.latency_ratio is not None:
        r = report.latency_ratio
        print(f"{r.value:.2f} times as fast (95 % interval {r.low:.2f} to {r.high:.2f})")
    for warning in report.warnings:
        print(f"note: {warning}")


def _interval(value: Score, stage: str) -> str:
    if stage == "original" and value.key in (FIDELITY, OUTPUT_FIDELITY) and value.value == 1:
        return "by definition"
    return f"{100 * value.low:.2f} to {100 * value.high:.2f}"


def _change(change: Any, unit: float, name: str) -> tuple[str, str]:
    return f"{change.original / unit:.2f} {name}", f"{change.final / unit:.2f} {name}"
