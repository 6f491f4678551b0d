"""Results as a person reads them on stdout, as wide as the terminal is."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ...evaluate.measure.latency import Comparison
from ...evaluate.report.lines import LayerLine
from ...evaluate.report.report import Report
from ...evaluate.report.trust import ranked_notes
from ..output_score import OUTPUT_FIDELITY
from ..scores import FIDELITY, Score
from .figures import figure_name, in_unit, megabytes

WIDTH = 110
"""Columns where stdout is no terminal, and nobody says (COLUMNS)."""
Cells = Sequence[str]


def show_document(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=1, allow_nan=False))


def stdout() -> Console:
    """Stdout with its width."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console


def write_result(line: str) -> None:
    """A line on stdout: a terminal gets it broken between words, a file whole."""
    console = stdout()
    console.print(line, soft_wrap=not console.is_terminal)


def show_table(title: str, columns: Cells, rows: Sequence[Cells], spare: Cells = ()) -> None:
    """A table on stdout; the first column is text, the others are figures.

    Where the width does not do, columns are left out, which is said; and where that does not do
    either, every row becomes a list.

    Args:
        spare: columns that may be left out, the first to go first.
    """
    console, left_out = stdout(), list[str]()
    while not _fits(table := _table(title, columns, rows), console):
        if len(left_out) == len(spare):
            _show_lists(console, title, columns, rows)
            return
        left_out.append(spare[len(left_out)])
        place = columns.index(left_out[-1])
        columns = [*columns[:place], *columns[place + 1 :]]
        rows = [[*row[:place], *row[place + 1 :]] for row in rows]
    console.print(table)
    if left_out:
        write_result(f"left out, for want of width: {', '.join(left_out)} (--json has them)")


def show_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """A table of names and what they are; long ones take several lines."""
    table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, fact in facts:
        table.add_row(name, fact)
    stdout().print(table)


def _table(title: str, columns: Cells, rows: Sequence[Cells]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _fits(table: Table, console: Console) -> bool:
    wanted = Measurement.get(console, console.options.update(width=10_000), table)
    return wanted.maximum <= console.width


def _show_lists(console: Console, title: str, columns: Cells, rows: Sequence[Cells]) -> None:
    for row in rows:
        show_facts(title, list(zip(columns, row, strict=True)))


def show_layers(lines: Sequence[LayerLine]) -> None:
    """The plan, a row a layer, and under it why layers stay whole."""
    rows = [
        (
            line.name,
            str(line.num_filters),
            str(line.num_kept),
            *(_change(line.macs, 1e6, "M") if line.macs else ("", "")),
            *(_change(line.params, 1e3, "k") if line.params else ("", "")),
            "" if line.success_rate is None else f"{100 * line.success_rate:.2f}",
        )
        for line in lines
    ]
    costs = ("MACs", "MACs kept", "params", "params kept")
    columns = ("layer", "filters", "kept", *costs, "SR, %")
    show_table("plan", columns, rows, spare=("params", "params kept", "MACs", "SR, %"))
    for line in lines:
        if line.reason:
            write_result(f"{line.name} stays whole: {line.reason}")


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
    spare = ("std ms", "mean ms", "p99 ms", "images/s", "p90 ms")
    show_table(f"latency on {setting}", columns, times, spare)
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
    needed = ("file", "MB", "ms to open", "peak MB", "timed runs")
    show_table("what a file needs", needed, needs, spare=("timed runs", "ms to open"))
    write_result("measured on " + "; ".join(f"{k}: {v}" for k, v in comparison.environment.items()))
    if comparison.noisy:
        write_result("note: the machine is noisy; runs varied by more than 10 %")


SPECTRUM = {
    "layer": "layer",
    "filters": "filters",
    "SR": "SR, %",
    "C_s": "C_s",
    "N_c": "N_c",
    "diagonal": "diagonal",
    "noise": "noise",
    "noise_in": "noise in",
    "SNR": "SNR",
}
LEGEND = (
    "SR: accuracy of the layer's probe; C_s: labels in a cluster; N_c: clusters of a filter; "
    "diagonal: labels in clusters; noise: ones outside of clusters, noise in: those in their "
    "columns; SNR: signal to noise (means over filters)"
)


def show_spectrum(rows: Sequence[Mapping[str, Any]]) -> None:
    """What every layer selects, under the paper's symbols, which are explained."""
    cells = [
        [f"{100 * row[key]:.2f}" if key == "SR" else in_unit(key, row[key]) for key in SPECTRUM]
        for row in rows
    ]
    spare = ("noise in", "diagonal", "N_c", "noise")
    show_table("what each layer selects", tuple(SPECTRUM.values()), cells, spare)
    write_result(LEGEND)


def show_points(points: Sequence[Mapping[str, Any]], measure: str) -> None:
    """The files of a sweep, a row each; under it why there are none of some."""
    rows = [
        (
            str(point["name"]),
            str(point["format"]),
            "yes" if point["on_front"] else "",
            "" if point[measure] is None else f"{100 * point[measure]:.2f}",
            "" if point["latency_ms"] is None else f"{point['latency_ms']:.3f}",
            "" if point["size_bytes"] is None else f"{point['size_bytes'] / 1e6:.2f}",
        )
        for point in points
    ]
    score = f"{figure_name(measure)}, %"
    columns = ("network", "format", "worth having", score, "p50 ms", "MB")
    show_table("trade-off on held-out images", columns, rows, spare=("MB",))
    for point in points:
        if point["error"]:
            write_result(f"no file of {point['name']} {point['format']}: {point['error']}")


def show_report(report: Report) -> None:
    """The few figures that matter, before and after."""
    accuracy, latency, size = report.accuracy, report.latency_ms, report.size_bytes
    metric = report.metric
    rows = [
        (
            stage,
            f"{100 * value.value:.2f}",
            _interval(value, stage),
            *([metric.shown(stage)] if metric else []),
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
        rows.append(("ONNX file", megabytes(size.original), megabytes(size.final)))
    if latency is not None:
        p50 = (f"{latency.original.p50:.2f} ms", f"{latency.final.p50:.2f} ms")
        rows.append(("latency p50", *p50))
    show_table("cost", ("", "original", "final"), rows)
    if report.latency_ratio is not None:
        r = report.latency_ratio
        write_result(f"{r.value:.2f} times as fast (95 % interval {r.low:.2f} to {r.high:.2f})")
    for note in ranked_notes(report.warnings):
        write_result(f"note: {note}")


def _interval(value: Score, stage: str) -> str:
    if stage == "original" and value.key in (FIDELITY, OUTPUT_FIDELITY) and value.value == 1:
        return "by definition"
    return f"{100 * value.low:.2f} to {100 * value.high:.2f}"


def _change(change: Any, unit: float, name: str) -> tuple[str, str]:
    return f"{change.original / unit:.2f} {name}", f"{change.final / unit:.2f} {name}"
