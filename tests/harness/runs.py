"""Commands of the product on a tiny untrained network, each in a forked child of this process.

A fork spares the imports, so that a moment or a write drawn at random falls into the work itself.
The parent opens no sessions and starts no threads: a child of it may.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from prune_dl.evaluate.report import report, tradeoff_page
from prune_dl.export import checked, hub
from prune_dl.prune.command import cli, delivery, dispatch, prune, rank, train
from prune_dl.prune.command.sweep import points
from prune_dl.prune.inputs import known
from prune_dl.prune.inputs.checkpoint import save_checkpoint
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.zoo import build

WARM = (report, tradeoff_page, checked, hub, delivery, dispatch, prune, rank, train, points, known)
"""What a command imports when it runs, imported before the fork."""
ARCH = "vgg6:width=0.05,in_channels=1"
MODEL = "digits.pt"
TIMING = ("--bench-seconds", "0.01", "--device", "cpu")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "job": ("--model", MODEL, "--keep", "0.5", "--epochs", "3", "--out", "out/run", *TIMING),
    "train": ("train", "--arch", ARCH, "--epochs", "3", "--out", "out/net.pt", "--device", "cpu"),
    "rank": ("rank", "--model", MODEL, "--out", "out/rank", "--device", "cpu"),
    "sweep": (
        *("sweep", "--model", MODEL, "--keep", "0.7", "0.4", "--epochs", "1", "--no-fp16"),
        *("--no-int8", "--out", "out/sweep", *TIMING),
    ),
}
RESULTS: Mapping[str, tuple[str, ...]] = {
    "job": ("run/plan.json", "run/model.safetensors", "run/model.onnx", "run/report.json"),
    "train": ("net.pt",),
    "rank": ("rank/spectrum.safetensors", "rank/filters.csv", "rank/filters.html"),
    "sweep": tuple(
        f"sweep/keep-{keep}/{name}"
        for keep in ("0.7", "0.4")
        for name in ("plan.json", "model.safetensors", "float32.onnx", "point.json")
    ),
}
"""What a command has written at the end, in out/."""
SAME = (".safetensors", "plan.json", ".pt", ".csv")
"""Endings of results that two runs must agree on byte for byte."""
TIMEOUT = 600.0


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code, minus the signal that killed it.
        error: what it wrote to stderr.
    """

    code: int
    error: str
    seconds: float

    @property
    def problem(self) -> str:
        """Why this is no proper refusal (exit 3 with one line); empty if it is."""
        last = (self.error.strip().splitlines() or [""])[-1].strip()
        if "Traceback" in self.error:
            return f"exit {self.code}, a traceback: {last[:300]}"
        if self.code != 3:
            return f"exit {self.code}: {last[:300]}"
        return "" if last.startswith("prune-dl: ") else f"last line is {last[:300]!r}"


def prepare(folder: Path) -> None:
    """Make the folder that all commands start from, anew."""
    torch.set_num_threads(1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    origin = Origin(ARCH, 10, "digits", (), (1, 32, 32), (0.5,), (0.5,))
    save_checkpoint(folder / MODEL, build(ARCH, 10, seed=0), origin)


def run_forked(
    argv: tuple[str, ...],
    folder: Path,
    *,
    kill_after: float | None = None,
    kill_with: signal.Signals = signal.SIGKILL,
    before: Callable[[], None] | None = None,
) -> Ended:
    """Run one command in a child whose working folder this is; `before` runs in it first."""
    log = folder / "stderr.txt"
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            os.chdir(folder)
            to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(to, 1)
            os.dup2(to, 2)
            if before is not None:
                before()
            cli.main(list(argv))
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    if kill_after is None:
        code = _wait(pid, start + TIMEOUT, signal.SIGKILL)
    else:
        code = _wait(pid, start + kill_after, kill_with)
    return Ended(code, log.read_text(errors="replace"), time.perf_counter() - start)


def _wait(pid: int, until: float, signal_then: signal.Signals) -> int:
    """The exit code; the child and what it started get the signal when the time has come."""
    while time.perf_counter() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal_then)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def differences(command: str, reference: Path, folder: Path) -> list[str]:
    """Results that are missing or not those of the reference, and what else was left."""
    left = [path.name for path in (folder / "out").iterdir()]
    found = [f"{name} was left" for name in left if name[0] == "." or name.endswith(".resume")]
    for name in RESULTS[command]:
        expected, here = reference / "out" / name, folder / "out" / name
        if not here.is_file():
            found.append(f"{name} is missing")
        elif name.endswith(SAME) and here.read_bytes() != expected.read_bytes():
            found.append(f"{name} differs from the uninterrupted run's")
    return found
