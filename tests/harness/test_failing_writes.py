"""A disk that is full at any write: one line, exit 3, and what was there before is whole.

    PRUNE_DL_FAULTS=0 pytest -m slow tests/harness/test_failing_writes.py

lets every write of job, train, rank and sweep fail, one run each (a number bounds them, spread
evenly); the quick tests do the same to each writer of files alone.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.files import write_json, write_safetensors, write_text, write_torch
from prune_dl.prune.progress import RunLog

from harness import amount, run_harness
from harness.faults import Disk

FAULTS = amount("PRUNE_DL_FAULTS", 4)
COMMANDS = ("job", "train", "rank", "sweep")
WRITERS: tuple[Callable[[Path], Any], ...] = (
    lambda path: write_text(path, "new"),
    lambda path: write_json(path, {"new": 1}),
    lambda path: write_torch(path, {"new": torch.ones(3)}),
    lambda path: write_safetensors(path, {"new": torch.ones(3)}, {}),
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands run in forked children")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_write_fails_says_so_and_leaves_nothing_half(
    command: str, tmp_path: Path
) -> None:
    outcome = run_harness("faults", tmp_path, FAULTS, command)
    assert outcome["tried"][command] >= min(FAULTS or 1, 4)
    assert not outcome["findings"], f"kept in {tmp_path}"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("lasting", [True, False])
def test_an_older_file_stays_whole_until_the_new_one_is(
    write: Callable[[Path], Any], lasting: bool, tmp_path: Path
) -> None:
    file = tmp_path / "a" / "file"
    write_text(file, "older")
    first, failed = 1, 0
    while True:
        disk = Disk(tmp_path, first, lasting=lasting)
        undo = disk.install()
        error = None
        try:
            write(file)
        except InputError as raised:
            error = raised
        finally:
            undo()
        if error is None:
            break
        assert "No space left" in str(error)
        failed += 1
        assert file.read_text() == "older"
        assert list(file.parent.iterdir()) == [file]
        first += 1
    assert failed == disk.count >= 3, "opening, a part, and the renaming"
    assert file.read_bytes() != b"older"


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    log = RunLog(file=tmp_path / "metrics.jsonl")
    undo = Disk(tmp_path, 1).install()
    try:
        with pytest.raises(InputError, match=r"metrics.jsonl cannot be written"):
            log.log({"stage": "retrain", "epoch": 1})
    finally:
        undo()
