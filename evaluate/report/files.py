"""A report as files: `report.json` and the page `report.html`."""

from dataclasses import replace
from pathlib import Path

from ...prune.files import write_json, write_text
from .page import render_page
from .report import Report
from .words import honest_warnings


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into the folder; neither is ever half written.

    What the figures themselves warn of (a noisy machine, no speed-up) joins `warnings`.

    Raises:
        ValueError: a number is NaN or infinite; the message names its place.
        InputError: the folder cannot be written to.
    """
    report = replace(report, warnings=honest_warnings(report))
    document, page = report.to_dict(), render_page(report)
    return write_json(folder / "report.json", document), write_text(folder / "report.html", page)
