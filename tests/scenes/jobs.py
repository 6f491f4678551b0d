"""The whole job, as several tests run it, and what it leaves."""

from dataclasses import dataclass
from pathlib import Path

from prune_dl.prune.command import cli


@dataclass(frozen=True)
class FinishedRun:
    """The folders that a job has written, and what a person saw meanwhile."""

    folder: Path
    hub_folder: Path
    stdout: str
    stderr: str


def job(folder: Path, out: str, *flags: str) -> int:
    """The whole job on the folder's digits.pt; its exit code."""
    model = str(folder / "digits.pt")
    seconds = ("--bench-seconds", "0.1", "--json")
    return cli.run(["--model", model, "--out", str(folder / out), *seconds, *flags])
