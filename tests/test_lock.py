"""One writer at a time: who is refused, who is not, and what a crash leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.lock import only_writer


def test_a_second_writer_is_told_who_holds_it(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "vgg"
    with only_writer(out):
        expected = rf"`out={out}` is being written by process {os.getpid()} on \S+ since 20"
        with pytest.raises(UsageError, match=expected), only_writer(out):
            pytest.fail("both write")
        with pytest.raises(UsageError, match="`hub_folder="), only_writer(out, "hub_folder"):
            pytest.fail("both write")
        with only_writer(tmp_path / "runs" / "other"):
            pass
    assert not list(tmp_path.iterdir())


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), only_writer(tmp_path / "x"):
        raise RuntimeError
    with only_writer(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_nobody_holds_stops_nobody(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from prune_dl.prune.lock import only_writer\n"
        "with only_writer(pathlib.Path(sys.argv[1])):\n"
        "    os._exit(9)"
    )
    crashed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    assert crashed.returncode == 9
    assert (tmp_path / ".x.lock").exists()
    assert json.loads((tmp_path / ".x.lock.json").read_text())["pid"]
    with only_writer(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".x.17.partial").mkdir()
    (tmp_path / ".x.18.partial").touch()
    kept = {tmp_path / name for name in (".x.partial", ".xy.17.partial", "x.17.partial")}
    for path in kept:
        path.touch()
    with only_writer(tmp_path / "x"):
        assert {*tmp_path.iterdir()} == kept | {tmp_path / ".x.lock", tmp_path / ".x.lock.json"}


def test_a_place_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), only_writer(tmp_path / "file" / "x"):
        pytest.fail("it cannot be there")
