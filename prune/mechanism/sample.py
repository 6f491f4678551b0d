"""A bounded sample of the inputs of a reader, kept from the same pass as the sums.

Which images are kept follows from their content alone: each has a key, a hash of its bytes, and
those with the lowest keys stay (bottom-k sampling). So the sample is uniform, does not depend on
order, batches or processes, and samples of two parts of the data merge into that of the whole.

Shapes: N samples of a batch, S samples kept, K labels, C channels, D = C * P pooled features.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import length_hint

import torch
from torch import Tensor

from ..errors import InputError
from ..forward import tensors_of
from ..inputs.split import Batch, Batches, Inputs
from .taps import Grid, pool, repeat_labels

MERGE_SAMPLES = 512
"""Samples that wait to be merged with those kept."""
LEVELS = 127
"""Steps from zero to the largest magnitude of a sample: what int8 holds on either side of 0."""
_PART = 0x1E3779B97F4A7C15
"""Odd, so that its multiples modulo 2**63 all differ: they tell several parts of one image apart
(windows, or a module that runs twice)."""
_POSITIVE = 2**63 - 1
"""The bits of an int64 but for its sign."""


@dataclass(frozen=True)
class LayerSample:
    """Pooled features of some samples, sorted by key; on the CPU.

    | attribute  | shape  | dtype   | meaning                                        |
    |------------|--------|---------|------------------------------------------------|
    | levels_SD  | (S, D) | int8    | features in steps of 1/127 of a sample's largest |
    | steps_S    | (S,)   | float32 | the size of that step                          |
    | labels_S   | (S,)   | int64   | label of each sample                           |
    | keys_S     | (S,)   | int64   | the lowest that occurred, ascending            |

    `grid` is (rows, columns) of the pooled map; `cell_area` the positions that one of its cells
    averages; `limit` how many samples are kept at most.
    """

    grid: Grid
    cell_area: float
    limit: int
    levels_SD: Tensor
    steps_S: Tensor
    labels_S: Tensor
    keys_S: Tensor

    def features(self, index_B: Tensor | slice = slice(None)) -> Tensor:
        """Pooled features of samples, (B, D) float32, to half a step."""
        return self.levels_SD[index_B].float() * self.steps_S[index_B, None]

    def means_KD(self, num_labels: int) -> Tensor:
        """Mean features of each label, (K, D) float32; zeros for a label without samples."""
        counts_K = torch.bincount(self.labels_S, minlength=num_labels)
        sums_KD = torch.zeros(num_labels, self.levels_SD.shape[1])
        for index_B in torch.split(torch.arange(len(self.labels_S)), MERGE_SAMPLES):
            sums_KD.index_add_(0, self.labels_S[index_B], self.features(index_B))
        return sums_KD / counts_K.clamp(min=1)[:, None]


SAMPLE_TENSORS = ("levels_SD", "steps_S", "labels_S", "keys_S")


def image_keys(inputs: Inputs) -> Tensor:
    """A key for each image, (N,) int64 >= 0: the first 63 bits of the BLAKE2b hash of its bytes.

    Of several inputs, the first one tells the images apart.
    """
    images = tensors_of(inputs)[0].detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    keys = [int.from_bytes(digest, "little") & _POSITIVE for digest in digests]
    return torch.tensor(keys, dtype=torch.int64)


def merge_samples(parts: Sequence[LayerSample]) -> LayerSample:
    """Those with the lowest keys of all parts; equal keys are sorted by label.

    Raises InputError when the parts were not taken alike.
    """
    first = parts[0]
    if len({(part.grid, part.cell_area, part.limit) for part in parts}) > 1:
        raise InputError(
            "samples of two different networks, input sizes or numbers of labels cannot be "
            "merged; expected the same ones; collect both alike"
        )
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in SAMPLE_TENSORS}
    by_label = joined["labels_S"].argsort(stable=True)
    order = by_label[joined["keys_S"][by_label].argsort(stable=True)][: first.limit]
    kept = (joined[name][order] for name in SAMPLE_TENSORS)
    return LayerSample(first.grid, first.cell_area, first.limit, *kept)


class Keyed:
    """Batches that tell the keys of the images that are being read (`keys_N`), and the first."""

    def __init__(self, batches: Batches) -> None:
        self._total = length_hint(batches, 0)
        self._rest = iter(batches)
        self.first = next(self._rest, None)
        self.keys_N = torch.zeros(0, dtype=torch.int64)

    def __length_hint__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[Batch]:
        for x, labels_N in chain([self.first] if self.first else [], self._rest):
            self.keys_N = image_keys(x)
            yield x, labels_N


@dataclass
class Sampler:
    """Builds up the sample of one reader, batch by batch.

    Attributes:
        images: tells the keys of the images that are being read.
        grid, cell_area, limit: as in `LayerSample`.
        parts: what is kept so far, then what waits.
    """

    images: Keyed
    grid: Grid
    cell_area: float
    limit: int
    parts: list[LayerSample] = field(default_factory=list)
    _keys_N: Tensor | None = None
    _runs: int = 0

    def add(self, map_NCHW: Tensor, labels_N: Tensor) -> None:
        """Take in one input of the reader; labels are those of the images."""
        keys_N = self.images.keys_N
        labels_R = repeat_labels(labels_N, map_NCHW)
        self._runs = self._runs + 1 if self._keys_N is keys_N else 0
        self._keys_N = keys_N
        keys_R = _part_keys(keys_N, len(labels_R) // len(keys_N), self._runs)
        index_B = torch.nonzero(keys_R <= self._bar())[:, 0]
        if len(index_B) < len(keys_R):  # picking all would copy large maps for nothing
            there = index_B.to(map_NCHW.device)
            map_NCHW, labels_R, keys_R = map_NCHW[there], labels_R[there], keys_R[index_B]
        levels_BD, steps_B = quantise_features(pool(map_NCHW, self.grid))
        tensors = (levels_BD.cpu(), steps_B.cpu(), labels_R.cpu(), keys_R)
        self.parts.append(LayerSample(self.grid, self.cell_area, self.limit, *tensors))
        if sum(len(part.keys_S) for part in self.parts[1:]) >= MERGE_SAMPLES:
            self.finish()

    def _bar(self) -> int:
        """Keys above this one cannot stay."""
        full = self.parts and len(self.parts[0].keys_S) == self.limit
        return int(self.parts[0].keys_S.max()) if full else _POSITIVE

    def finish(self) -> LayerSample:
        """The sample of all that was taken in."""
        self.parts = [merge_samples(self.parts)]
        return self.parts[0]


def _part_keys(keys_N: Tensor, repeats: int, runs: int) -> Tensor:
    """Keys of the rows of an input that folds `repeats` parts of each image, at its n-th run."""
    parts = torch.arange(runs * repeats, (runs + 1) * repeats)
    return (keys_N[:, None] ^ (parts * _PART & _POSITIVE)).flatten()


def quantise_features(features_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Round each sample to 1/127 of its largest magnitude: levels (B, D) int8, steps (B,)."""
    steps_B = features_BD.abs().amax(1) / LEVELS
    safe_B = torch.where(steps_B > 0, steps_B, 1)
    return (features_BD / safe_B[:, None]).round().to(torch.int8), steps_B
