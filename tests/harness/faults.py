"""Let the k-th write of a command fail as on a full disk, for k over all of its writes.

    python -m harness.faults FOLDER FAULTS [COMMAND ...]

FAULTS bounds the writes tried of each command, evenly spread; 0 tries all. Prints one JSON
document: {"writes": {command: number}, "tried": {command: number}, "findings": [[command, write,
what], ..]}. A write is an opening for writing, a part written, a folder made, a renaming; from the
k-th on every one of them fails, or that one alone (every other k).
"""

import builtins
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors import safe_open

from .runs import COMMANDS, RESULTS, prepare, run_forked

COUNT = "writes.txt"


class Disk:
    """Counts writes to a folder, and lets some of them fail.

    Attributes:
        first: number of the first write that fails, from 1; 0 for none.
        lasting: whether all later ones fail, too.
        place: writes elsewhere are not touched.
    """

    def __init__(self, place: Path, first: int = 0, *, lasting: bool = True) -> None:
        self.place, self.first, self.lasting = str(place), first, lasting
        self.count = 0

    def write(self, what: str) -> None:
        """Count one write; raises OSError where it fails."""
        self.count += 1
        if self.first and (self.count >= self.first if self.lasting else self.count == self.first):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what)

    def holds(self, path: Any) -> bool:
        """Whether a path lies in the folder."""
        known = isinstance(path, str | os.PathLike)
        return known and os.path.abspath(path).startswith(self.place)

    def install(self) -> Callable[[], None]:
        """Put itself between Python and the disk; gives what undoes that."""
        plain, replace, mkdir = io.open, os.replace, os.mkdir

        def opened(path: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
            writing = any(letter in mode for letter in "wax+") and self.holds(path)
            if writing:
                self.write(f"open {path}")
            file = plain(path, mode, *args, **named)
            return _File(file, self) if writing else file

        def counted(plain_call: Callable[..., Any]) -> Callable[..., Any]:
            def called(path: Any, *args: Any, **named: Any) -> Any:
                made = plain_call is mkdir and os.path.isdir(path)  # nothing would be written
                if self.holds(path) and not made:
                    self.write(f"{plain_call.__name__} {path}")
                return plain_call(path, *args, **named)

            return called

        io.open = builtins.open = opened
        os.replace, os.mkdir = counted(replace), counted(mkdir)

        def undo() -> None:
            io.open = builtins.open = plain
            os.replace, os.mkdir = replace, mkdir

        return undo


class _File:
    """A file whose writes are counted; a failing one leaves the first half of its part."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, part: Any) -> Any:
        try:
            self._disk.write("write")
        except OSError:
            self._file.write(part[: len(part) // 2])
            raise
        return self._file.write(part)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def whole(folder: Path) -> list[str]:
    """Files under their final names that are not whole; hidden ones are works in progress."""
    found = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and (problem := _problem(path)):
            found.append(f"{path.relative_to(folder)}: {problem}")
    return found


def _problem(path: Path) -> str:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                [np.asarray(file.get_tensor(name)) for name in file.keys()]  # noqa: SIM118
        elif path.suffix == ".onnx":
            onnx.checker.check_model(onnx.load(path))
        elif path.stat().st_size == 0:
            return "empty"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def try_write(command: str, folder: Path, first: int, *, lasting: bool) -> list[str]:
    """What is wrong after the command whose writes fail so."""
    prepare(folder)
    old = folder / "out" / "old.txt"
    old.parent.mkdir(exist_ok=True)
    old.write_text("older")

    def break_disk() -> None:
        Disk(folder / "out", first, lasting=lasting).install()

    ended = run_forked(COMMANDS[command], folder, before=break_disk)
    is_row = command == "sweep" and ended.code == 0 and _is_told(folder / "out" / "sweep")
    found = [ended.problem] if ended.problem and not is_row else []
    found += whole(folder / "out")
    if command in ("job", "rank"):  # a folder under its final name is a finished one
        finished = folder / "out" / RESULTS[command][0].split("/")[0]
        found += [f"{finished.name} is there, unfinished"] if finished.exists() else []
    if old.read_text() != "older":
        found.append("an older file was touched")
    return found


def _is_told(sweep: Path) -> bool:
    """A sweep goes on after a point that broke off: a row says why."""
    file = sweep / "tradeoff.json"
    return file.is_file() and "No space left" in file.read_text()


def count_writes(command: str, folder: Path) -> int:
    """Writes of the command when nothing fails."""
    prepare(folder)

    def count() -> None:
        disk = Disk(folder / "out")
        disk.install()
        plain = os._exit

        def leave(code: int) -> None:
            (folder / COUNT).write_text(str(disk.count))
            plain(code)

        os._exit = leave  # type: ignore[assignment]

    ended = run_forked(COMMANDS[command], folder, before=count)
    if ended.code:
        raise RuntimeError(f"{command} by itself: {ended.error[-2000:]}")
    return int((folder / COUNT).read_text())


def main(home: str, faults: str, *only: str) -> None:
    root = Path(home).absolute()
    writes, tried = {}, {}
    findings: list[tuple[str, int, str]] = []
    for command in only or COMMANDS:
        writes[command] = count_writes(command, root / f"{command}-whole")
        every = writes[command] / (int(faults) or writes[command])
        chosen = sorted({1 + int(i * every) for i in range(int(writes[command] / max(1, every)))})
        tried[command] = len(chosen)
        for number, first in enumerate(chosen):
            folder = root / f"{command}-{first}"
            found = try_write(command, folder, first, lasting=number % 2 == 0)
            findings += [(command, first, text) for text in found]
            if not found:
                shutil.rmtree(folder)
    json.dump({"writes": writes, "tried": tried, "findings": findings}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
