"""A report as files: `report.json` and the page `report.html`."""

from pathlib import Path

from ...prune.files import write_json, write_text
from .page import render_page
from .report import Report


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into the folder; neither is ever half written.

    Raises:
        ValueError: a number is NaN or infinite; the message names its place.
        InputError: the folder cannot be written to.
    """
    document, page = report.to_dict(), render_page(report)
    return write_json(folder / "report.json", document), write_text(folder / "report.html", page)
