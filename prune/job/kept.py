"""What finished stages gave, kept in the unfinished folder of a run, so that it can be resumed.

kept/measured-NETWORK/            statistics and spectrum, where they took long
kept/planned-NETWORK.pt           see `kept_plan`
kept/repaired-NETWORK-PLAN.pt     see `kept_repair`
kept/retraining-STEP.pt           states of the brief retrainings between steps

NETWORK and PLAN are the digests of what the stage was given. Data, options and seed are the same
for all of them: `folder.bind_to` sees to that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch

from ..errors import InputError, first_line
from ..files import whole_folder
from ..folder import CHECKPOINT, KEPT, WORTH_KEEPING_SECONDS
from ..mechanism.files import load_spectrum, save_spectrum
from ..mechanism.spectrum import Spectrum
from ..mechanism.statistics import Statistics, load_statistics, save_statistics

Result = TypeVar("Result")


@dataclass(frozen=True)
class Form(Generic[Result]):
    """How the result of a stage is written to a place, whole or not at all, and read back."""

    save: Callable[[Result, Path], object]
    load: Callable[[Path], Result]


@dataclass(frozen=True)
class Kept:
    """Where a run keeps what its stages gave.

    Attributes:
        folder: the unfinished folder; None keeps nothing.
        checkpoint_name: of the retraining's state in it.
        seconds: stages that take less are not kept.
    """

    folder: Path | None = None
    checkpoint_name: str = CHECKPOINT
    seconds: float = WORTH_KEEPING_SECONDS

    @property
    def checkpoint(self) -> Path | None:
        """Where a retraining keeps its state."""
        return None if self.folder is None else self.folder / self.checkpoint_name

    def of_step(self, step: int) -> "Kept":
        """The same for a step before the last: its retraining has a state of its own."""
        return replace(self, checkpoint_name=f"{KEPT}/retraining-{step}.pt")

    def once(
        self,
        name: str,
        make: Callable[[], Result],
        form: Form[Result],
        *,
        seconds: float | None = None,
    ) -> Result:
        """What a stage gives: read back if it was kept, else made, and kept if it took long.

        Args:
            name: of the file or folder; it tells everything that the result depends on.
            seconds: keep what took so long; default: `self.seconds`.

        Raises:
            InputError: the file is damaged, or cannot be written.
        """
        if self.folder is None:
            return make()
        place = self.folder / KEPT / name
        if place.exists():
            return form.load(place)
        start = perf_counter()
        made = make()
        if perf_counter() - start >= (self.seconds if seconds is None else seconds):
            form.save(made, place)
        return made


def read_values(place: Path, read: Callable[[dict[str, Any]], Result]) -> Result:
    """What `read` makes of the plain values and tensors in a file; no code in it is run.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return read(torch.load(place, map_location="cpu", weights_only=True))
    except (InputError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # whatever torch raises on a file that is not what it should be
        raise InputError(
            f"{place} is damaged ({first_line(error)}); remove it, and this stage runs again"
        ) from error


def _save_measured(measured: tuple[Statistics, Spectrum], place: Path) -> None:
    with whole_folder(place) as partial:
        save_statistics(measured[0], partial / "statistics.safetensors")
        save_spectrum(measured[1], partial / "spectrum.safetensors")


def _load_measured(place: Path) -> tuple[Statistics, Spectrum]:
    statistics = load_statistics(place / "statistics.safetensors")
    return statistics, load_spectrum(place / "spectrum.safetensors")


MEASURED = Form(_save_measured, _load_measured)
STATISTICS = Form(save_statistics, load_statistics)
SPECTRUM = Form(save_spectrum, load_spectrum)
