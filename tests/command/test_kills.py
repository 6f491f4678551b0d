"""Real processes killed at random moments: what they were to deliver is delivered all the same.

PRUNE_DL_KILLS=50 pytest -m slow tests/command/test_kills.py
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("PRUNE_DL_KILLS", "8"))
"""Over all commands, spread evenly over their whole length."""
ARCH = "vgg6:width=0.125"
COMMANDS = {
    "job": (
        ("--model", "s.pt", "--keep", "0.6", "--epochs", "3", "--bench-seconds", "0.1"),
        ("plan.json", "model.safetensors"),
    ),
    "train": (("train", "--arch", ARCH, "--data", "digits", "--epochs", "4"), ("",)),
    "rank": (
        ("rank", "--model", "s.pt", "--keep", "0.5", "--probe", "softmax"),
        ("spectrum.safetensors", "filters.csv"),
    ),
    "sweep": (
        ("sweep", "--model", "s.pt", "--keep", "0.6", "0.4", "--epochs", "1", "--no-int8"),
        ("keep-0.6/plan.json", "keep-0.6/model.safetensors", "keep-0.4/model.safetensors"),
    ),
}
"""Flags, and the files that do not depend on the moment."""


def start(home: Path, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "prune_dl.prune", *argv],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(home: Path, *argv: str) -> tuple[int, str]:
    """Exit code, and the last line on stderr."""
    process = start(home, *argv)
    _, complaint = process.communicate(timeout=300)
    return process.returncode, (complaint.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network, s.pt."""
    folder = tmp_path_factory.mktemp("kills")
    assert finish(folder, "train", "--arch", ARCH, "--epochs", "1", "--out", "s.pt")[0] == 0
    return folder


def clear(home: Path, name: str) -> None:
    for path in [*home.glob(name), *home.glob(f"{name}.resume"), *home.glob(f".{name}.*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def contents(out: Path, names: tuple[str, ...]) -> list[bytes]:
    return [(out / name if name else out).read_bytes() for name in names]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_run_ends_as_an_uninterrupted_one(command: str, home: Path) -> None:
    flags, names = COMMANDS[command]
    started = time.perf_counter()
    assert finish(home, *flags, "--out", "whole")[0] == 0
    seconds = time.perf_counter() - started
    expected = contents(home / "whole", names)
    randomness, kills = random.Random(command), max(1, KILLS // len(COMMANDS))
    for turn in range(kills):
        clear(home, "out")
        wanted = (signal.SIGKILL, signal.SIGTERM)[turn % 2]
        process = start(home, *flags, "--out", "out")
        time.sleep(seconds * (turn + randomness.random()) / kills)
        process.send_signal(wanted)
        _, complaint = process.communicate(timeout=300)
        ends = {signal.SIGKILL: -9, signal.SIGTERM: 143}
        # A signal in the first moments, before there is a handler, ends the process at once.
        assert process.returncode in (0, ends[wanted], -wanted), complaint
        if process.returncode:
            code, line = finish(home, *flags, "--out", "out", "--resume")
            if code == 2 and "nothing to go on from" in line:
                code, line = finish(home, *flags, "--out", "out")
            whole_already = code == 2 and ("holds something" in line or "exists already" in line)
            assert code == 0 or whole_already, line
        assert contents(home / "out", names) == expected, f"kill {turn} of {command}"
        assert not list(home.glob(".out*")) + list(home.glob("out.resume"))
    clear(home, "whole")
    clear(home, "out")
