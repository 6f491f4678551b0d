"""The folder of a sweep: one folder a point, whose figures are written when it is done.

sweep.json            the options that all points share
POINT/point.json      the rows of a point that is done, whether it could be made or not
POINT/forecast.json   its held-out score after the repair, and what that lets expect of others
POINT/failed.json     the rows of one that broke off; `--resume` makes it again
belongs_to.json       the network, the data and the options that its points were made from
kept/, POINT/kept/    what finished stages gave, while the sweep or the point is not done
tradeoff.{json,csv,html}
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path, PurePath

from ....evaluate.report.tradeoff import TradeoffPoint
from ...checks import unfit_name
from ...errors import InputError, UsageError
from ...files import read_bytes, write_json, write_text
from ...folder import BELONGS_TO, CHECKPOINT, KEPT, remove_half_written_in
from ...typed import from_json
from ..opening import default_out
from ..options_file import to_tables
from ..trees import Sweep

SETTINGS, DONE, FAILED = "sweep.json", "point.json", "failed.json"
OWN = {SETTINGS, BELONGS_TO}
"""Files of a sweep that stopped before its first point."""


def sweep_folder(options: Sweep) -> Path:
    """Where the results go."""
    stem = default_out(options.network.model)
    return options.run.out or stem.with_name(f"{stem.name}-sweep")


def open_folder(out: Path, options: Sweep) -> None:
    """Make the output folder, or check that it holds an earlier part of the same sweep.

    A folder without any point, of a sweep that stopped before the first one, counts as new.
    """
    settings = to_tables(replace(options, keep=(), macs=(), latency_ms=()))
    for name in ("run", "bench", "distributed"):
        settings.pop(name, None)
    text = json.dumps(settings, indent=1, sort_keys=True)
    file = out / SETTINGS
    if options.run.resume and file.exists():
        if read_bytes(file) != text.encode("utf-8"):
            raise UsageError(
                f"`resume` given, but `out={out}` holds a sweep with other options; "
                "give another folder"
            )
        remove_half_written_in(out)
        return
    if options.run.resume:
        raise UsageError(
            f"`resume` given, and there is nothing to go on from in {out}; leave it out to start"
        )
    if out.exists() and (not out.is_dir() or any(f.name not in OWN for f in out.iterdir())):
        raise UsageError(
            f"`out={out}` holds something already; give another folder, or `resume` its sweep"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`out={out}` cannot be written ({error.strerror}); give another place"
        ) from None
    write_text(file, text)


def folder_of(out: Path, name: str) -> Path:
    """Where the files of one point are."""
    return out / name.replace(" ", "-")


def is_done(out: Path, name: str) -> bool:
    """Whether there is nothing left to do for a point: its rows and all its files are there."""
    file = folder_of(out, name) / DONE
    return file.exists() and all(
        (out / point.file).is_file() for point in _read(file) if not point.error
    )


def write_points(out: Path, name: str, points: list[TradeoffPoint], *, done: bool = True) -> None:
    """Keep the rows of one point; `done` says whether to leave it at that."""
    folder = folder_of(out, name)
    folder.mkdir(exist_ok=True)
    write_json(folder / (DONE if done else FAILED), [asdict(point) for point in points])
    if done:
        (folder / FAILED).unlink(missing_ok=True)
        forget(folder)


def forget(folder: Path) -> None:
    """Remove what stages have kept, once it is of no use any more."""
    shutil.rmtree(folder / KEPT, ignore_errors=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def read_points(out: Path, name: str) -> list[TradeoffPoint]:
    """Read back what `write_points` wrote."""
    return _read(folder_of(out, name) / (DONE if is_done(out, name) else FAILED))


def _read(file: Path) -> list[TradeoffPoint]:
    points = from_json(read_bytes(file), list[TradeoffPoint], str(file))
    for point in points:
        place = PurePath(point.file)
        if place.is_absolute() or ".." in place.parts or unfit_name(point.file):
            raise InputError(
                f"{file} names the file {point.file[:200]!r}; expected one within the sweep's "
                "folder; remove this point's folder and `resume`"
            )
    return points
