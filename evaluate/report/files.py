"""A report as files: `report.json` and the page `report.html`."""

import json
from dataclasses import replace
from pathlib import Path

from ...prune.files import write_text
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
    document = json.dumps(report.to_dict(), indent=1, allow_nan=False)
    page = render_page(report)
    return write_text(folder / "report.json", document), write_text(folder / "report.html", page)
