"""What is asked for in the contest, and what was measured (see contest.py)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prune_dl.prune.training.recipe import RETRAINING


@dataclass(frozen=True)
class Settings:
    """What a row depends on; rows of other settings are measured again.

    Attributes:
        multiple: widths of our arms are multiples of this; 0 for as round as the job makes them.
    """

    model: str
    data: str
    macs: float
    images: int = 6000
    lr: float = RETRAINING["lr"]
    mixup: float = RETRAINING["mixup"]
    distill: float = RETRAINING["distill"]
    allocate: str = "output"
    multiple: int = 1
    test_images: int | None = None

    def file_of(self, arm: str, seed: int) -> str:
        """Name of the file that keeps a network."""
        words = json.dumps([asdict(self), arm, seed])
        return f"{arm}-{hashlib.sha256(words.encode()).hexdigest()[:12]}.pt"


@dataclass(frozen=True)
class Columns:
    """What is measured of every network beside its accuracy before any step; 0 is not measured."""

    batches: int = 0
    epochs: tuple[int, ...] = ()
    bench_seconds: float = 0.0

    @property
    def names(self) -> list[str]:
        """As rows name them."""
        found = ["latency"] * bool(self.bench_seconds)
        found += [f"{self.batches} batches"] * bool(self.batches)
        return found + [f"{number} epoch{'s' * (number > 1)}" for number in self.epochs]


@dataclass(frozen=True)
class Row:
    """One arm, one seed: what was measured so far, by column (see `contest_page`).

    A peer that cannot prune the network has no figures, and its error.
    """

    arm: str
    seed: int
    values: Mapping[str, float | None] = field(default_factory=dict)
    error: str = ""


def read_rows(settings: Settings, out: Path) -> dict[tuple[str, int], Row]:
    """The last row of every arm and seed that was measured with these settings."""
    file = out / "rows.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [Row(**line["row"]) for line in lines if line["settings"] == asdict(settings)]
    return {(row.arm, row.seed): row for row in rows}
