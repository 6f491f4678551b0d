"""One network, one data set, one file: written, checked, and its own accuracy measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from ..prune.scores import Score
from .metadata import accuracy_entry, add_metadata
from .parity import PARITY_IMAGES, Parity, compare_outputs
from .quantise import Quantisation, Quantised, quantise_file
from .scoring import score_file
from .session import open_session, run_session
from .variants import PixelScale, Variant, export_variant, to_pixels

CALIBRATION_SHARE, MAX_CALIBRATION = 0.2, 256
"""Share of the held-out images that INT8 ranges are taken from, and the most of them: ranges of a
few hundred images differ little from those of more, and the others are needed to judge."""
LEAST_CALIBRATION = 2
"""One image has no distribution."""
MAX_JUDGED = 2000
"""Most held-out images that judge a file; with them a difference of a point is seen."""
READ_BATCH = 100
"""Images that are read at once; it changes no result."""


@dataclass(frozen=True)
class Exported:
    """A file and what was found out about it.

    Attributes:
        path, size_bytes: the file.
        parity: against the network. That of an INT8 file is information, not a check: what it
            may lose in accuracy is the check.
        score: of the file itself, on the held-out images that judge files.
        quantised: how the INT8 file was made; None for a float file.
    """

    path: Path
    size_bytes: int
    parity: Parity
    score: Score
    quantised: Quantised | None


@dataclass(frozen=True, eq=False)
class _Images:
    """Held-out images, normalised (N, C, H, W) and as the graph takes them, and their labels.

    The first `num_calibration` choose INT8 ranges and judge no file of any precision, so that all
    files are judged on the same images.
    """

    normalised: Tensor
    inputs: NDArray[Any]
    labels_N: NDArray[np.int64]

    @property
    def num_calibration(self) -> int:
        return min(MAX_CALIBRATION, int(CALIBRATION_SHARE * len(self.labels_N)))

    @property
    def calibration(self) -> NDArray[Any]:
        return self.inputs[: self.num_calibration]

    @property
    def judged(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        return self.inputs[self.num_calibration :], self.labels_N[self.num_calibration :]


def export_checked(
    model: nn.Module,
    data: DataSet,
    path: Path,
    variant: Variant,
    *,
    metadata: Mapping[str, str],
    quantisation: Quantisation | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write the wanted file, check it on held-out images, and score the file itself on them.

    The score is written into the file's metadata.

    Args:
        quantisation: how to make an INT8 file; None for a float file.

    Raises:
        GateError: the file is not the network, or INT8 loses too much; no file is left.
        UsageError: float16 and INT8 at once.
        InputError: too few held-out images.
    """
    if quantisation is not None and variant.half:
        raise UsageError("`fp16` and `int8` given; expected one precision; give one of the two")
    variant = replace(variant, multi_label=data.multi_label)
    images = _held_out(data, variant)
    scale = PixelScale.of(data)
    quantised = None
    if quantisation is None:
        some = images.normalised[:PARITY_IMAGES]
        parity = export_variant(model, some, path, variant, scale=scale, metadata=metadata)
    else:
        _require_calibration(images, data.name)
        with TemporaryDirectory(prefix="prune-dl-export-") as folder:
            source = Path(folder) / path.name
            some = images.normalised[:PARITY_IMAGES]
            export_variant(model, some, source, variant, scale=scale, metadata=metadata)
            quantised = quantise_file(
                source, path, images.calibration, [images.judged], quantisation, progress=progress
            )
            parity = _difference(source, path, images.judged[0][:PARITY_IMAGES], variant)
    score = score_file(
        open_session(path),
        [images.judged],
        threshold=variant.rule.threshold,
        of_answers=data.unlabeled,
    )
    add_metadata(path, accuracy_entry({"held_out": score}))
    return Exported(path, path.stat().st_size, parity, score, quantised)


def _require_calibration(images: _Images, name: str) -> None:
    if images.num_calibration < LEAST_CALIBRATION:
        least = int(LEAST_CALIBRATION / CALIBRATION_SHARE)
        raise InputError(
            f"{len(images.labels_N)} held-out images of {name} given; expected {least} at least, "
            f"since {CALIBRATION_SHARE:.0%} of them calibrate INT8; give a larger `held_out`"
        )


def _difference(source: Path, path: Path, images: NDArray[Any], variant: Variant) -> Parity:
    """An INT8 file against the float file, which was found equal to the network."""
    float_NK, int8_NK = (run_session(open_session(file), images) for file in (source, path))
    return compare_outputs(float_NK, int8_NK, tolerance=float("inf"), rule=variant.rule)


def _held_out(data: DataSet, variant: Variant) -> _Images:
    """A seeded part of the held-out images."""
    limit = min(data.held_out.num_images, MAX_JUDGED + MAX_CALIBRATION)
    batches = list(data.held_out.batches(READ_BATCH, device="cpu", limit=limit, shuffle_seed=0))
    images = torch.cat([x for x, _ in batches])
    labels: Any = torch.cat([y for _, y in batches]).numpy()
    inputs = to_pixels(images, PixelScale.of(data)) if variant.embed_preprocess else images
    return _Images(images, inputs.numpy(), labels)
