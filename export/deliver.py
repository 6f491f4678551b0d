"""One network, one data set, one file: written, checked, and its own accuracy measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..prune.errors import InputError, UsageError
from ..prune.inputs.split import DataSet
from ..prune.progress import Progress, silent
from .metadata import accuracy_entry, add_metadata
from .parity import Parity, compare_outputs
from .quantise import Quantised, quantise
from .session import count_correct, open_session, predict
from .variants import Variant, export_variant, to_pixels

PARITY_IMAGES = 256
CALIBRATION_SHARE, LEAST_CALIBRATION, MAX_CALIBRATION = 0.2, 2, 256
MAX_JUDGED = 2000
"""Most held-out images that judge a file; with them a difference of a point is seen."""


@dataclass(frozen=True)
class Exported:
    """A file and what was found out about it.

    Attributes:
        path, size_bytes: the file.
        parity: against the network. That of an INT8 file is information, not a check: what it
            may lose in accuracy is the check.
        correct, total: held-out images that the file itself puts under their label, and all that
            judged it.
        quantised: how the INT8 file came about; None for a float file.
    """

    path: Path
    size_bytes: int
    parity: Parity
    correct: int
    total: int
    quantised: Quantised | None

    @property
    def top1(self) -> float:
        """Held-out accuracy of the file itself, a fraction."""
        return self.correct / self.total


def deliver(
    model: nn.Module,
    data: DataSet,
    path: Path,
    variant: Variant,
    *,
    metadata: Mapping[str, str],
    int8: bool = False,
    max_drop: float = 0.01,
    progress: Progress = silent,
) -> Exported:
    """Write the wanted file, check it on held-out images, and count its own hits on them.

    An INT8 file is calibrated on some held-out images. Those judge no file of any precision, so
    that all are judged on the same ones. The hits are written into the file's metadata.

    Args:
        max_drop: accuracy that INT8 may lose, a fraction.

    Raises:
        GateError: the file is not the network, or INT8 loses too much; no file is left.
        UsageError: float16 and INT8 at once.
        InputError: too few held-out images.
    """
    if int8 and variant.half:
        raise UsageError("--fp16 and --int8: a file has one precision; give one of the two")
    images, labels_N = _held_out(data)
    inputs = to_pixels(images, data.mean, data.std) if variant.embed_preprocess else images
    cut = min(MAX_CALIBRATION, int(CALIBRATION_SHARE * len(labels_N)))
    if int8 and cut < LEAST_CALIBRATION:
        raise InputError(
            f"{data.name}: {len(labels_N)} held-out images are too few to calibrate INT8 on; "
            "give --held-out a larger share"
        )
    judged = (inputs[cut:].numpy(), labels_N[cut:])
    with TemporaryDirectory(prefix="prune-dl-export-") as folder:
        target = Path(folder) / path.name if int8 else path
        parity = export_variant(
            model,
            images[:PARITY_IMAGES],
            target,
            variant,
            mean=data.mean,
            std=data.std,
            metadata=metadata,
        )
        quantised = None
        if int8:
            quantised = quantise(
                target, path, inputs[:cut].numpy(), [judged], max_drop=max_drop, progress=progress
            )
            parity = _difference(target, path, judged[0][:PARITY_IMAGES])
    correct, total = count_correct(open_session(path), [judged])
    add_metadata(path, accuracy_entry({"held_out": (correct, total)}))
    return Exported(path, path.stat().st_size, parity, correct, total, quantised)


def _difference(source: Path, path: Path, images: NDArray[Any]) -> Parity:
    """An INT8 file against the float file, which was found equal to the network."""
    float_NK, int8_NK = (predict(open_session(file), images) for file in (source, path))
    return compare_outputs(float_NK, int8_NK, tolerance=float("inf"))


def _held_out(data: DataSet) -> tuple[Tensor, NDArray[np.int64]]:
    """A seeded part of the held-out images, and their labels."""
    limit = min(data.held_out.num_images, MAX_JUDGED + MAX_CALIBRATION)
    batches = list(data.held_out.batches(100, device="cpu", limit=limit, shuffle_seed=0))
    images = torch.cat([x for x, _ in batches])
    labels: Any = torch.cat([y for _, y in batches]).numpy()
    return images, labels
