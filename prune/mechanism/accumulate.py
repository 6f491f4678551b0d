"""Sums over the inputs of one reader, built up batch by batch in bounded memory.

Products are taken in float32, batch by batch, and added up in float64. Features that hardly vary
are shifted before, by their mean in the first batch, and the sums are shifted back in the end.

Shapes: K labels, D pooled features, C channels, R rows (samples times positions), B buffered.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..centring import bordered, choose_shift, less, unshifted
from ..structure.units import Reader
from .sample import Sampler
from .taps import Grid, as_map, choose_grid, pool, position_rows, position_stride, repeat_labels

GRAM_SAMPLES = 512
"""Samples that wait for one Gram product: enough to make it efficient."""
BLOCK = 256
"""Rows of a Gram matrix computed together; blocks below the diagonal are skipped."""


@dataclass
class Moments:
    """Running second moments of the channels of one reader's input.

    Attributes:
        macs_per_position: of the reader itself; decides how many positions the moments take.
        sums_CC: (C + 1, C + 1) of [channels; 1] over samples and positions (upper triangle of
            blocks); None before the first input.
        shift_C: what is taken off the channels before products; None for nothing.
    """

    macs_per_position: float
    device: torch.device
    sums_CC: Tensor | None = None
    shift_C: Tensor | None = None

    def add(self, map_NCHW: Tensor) -> None:
        """Take in one input of the reader."""
        rows_RC = position_rows(map_NCHW, position_stride(map_NCHW, self.macs_per_position))
        if self.sums_CC is None:
            size = map_NCHW.shape[1] + 1
            self.sums_CC = torch.zeros(size, size, dtype=torch.float64, device=self.device)
            self.shift_C = choose_shift(rows_RC)
        add_moments(self.sums_CC, less(rows_RC, self.shift_C))

    def finish(self) -> Tensor:
        """The plain moments of all that was taken in, on the CPU. Called once, at the end."""
        assert self.sums_CC is not None, "there was an input"
        return unshifted(mirror(self.sums_CC), self.shift_C)


@dataclass
class Accumulator:
    """Running sums of one reader, which become its `LayerStatistics`.

    Attributes:
        grid: cells of the pooled map, fixed by the first input.
        counts_K, sums_KD, gram_DD: of the pooled features (upper triangle only, for now).
        moments: of the channels.
        totals: sum of the features, and the number of samples, (D + 1,); None where the rows of
            `sums_KD` add up to it, as they do with one label for each sample.
        shift_D: what is taken off features before products; None for nothing.
        is_flushed: whether samples have reached `gram_DD` yet.
        sampler: keeps some samples on a finer grid, where they are asked for.
        waiting: pooled features and labels not yet in the sums.
    """

    reader: Reader
    num_labels: int
    max_features: int
    moments: Moments
    device: torch.device
    sampler: Sampler | None = None
    grid: Grid | None = None
    counts_K: Tensor = field(init=False)
    sums_KD: Tensor = field(init=False)
    gram_DD: Tensor = field(init=False)
    totals: Tensor | None = None
    shift_D: Tensor | None = None
    is_flushed: bool = False
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def add(self, x: Tensor, labels_N: Tensor) -> None:
        """Take in one input of the reader, with the label of each sample."""
        map_NCHW = as_map(x, self.reader)
        if self.grid is None:
            self._start(map_NCHW)
        assert self.grid is not None
        self.moments.add(map_NCHW)
        if self.sampler is not None:
            self.sampler.add(map_NCHW, labels_N)
        self.waiting.append((pool(map_NCHW, self.grid), repeat_labels(labels_N, map_NCHW)))
        if sum(len(labels) for _, labels in self.waiting) >= GRAM_SAMPLES:
            self.flush()

    def _start(self, map_NCHW: Tensor) -> None:
        channels, height, width = map_NCHW.shape[1:]
        self.grid = choose_grid(channels, height, width, self.max_features)
        features = channels * self.grid[0] * self.grid[1]
        self.counts_K = self._zeros(self.num_labels)
        self.sums_KD = self._zeros(self.num_labels, features)
        self.gram_DD = self._zeros(features, features)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def flush(self) -> None:
        """Bring the waiting samples into the sums."""
        if not self.waiting:
            return
        features = torch.cat([pooled for pooled, _ in self.waiting])
        labels = torch.cat([labels for _, labels in self.waiting]).to(self.device)
        self.waiting.clear()
        if not self.is_flushed:
            self.shift_D, self.is_flushed = choose_shift(features), True
        # Not bincount: a GPU would wait for the host, which must know how long its result is.
        wide_BD = features.to(self.device, torch.float64)
        if labels.ndim == 1:
            self.counts_K.index_add_(0, labels, self.counts_K.new_ones(len(labels)))
            self.sums_KD.index_add_(0, labels, wide_BD)
        else:  # an image counts in the row of every label that it has
            there_BK = labels.to(torch.float64)
            self.counts_K += there_BK.sum(0)
            self.sums_KD += there_BK.T @ wide_BD
            self._add_totals(wide_BD)
        add_gram(self.gram_DD, less(features, self.shift_D))

    def _add_totals(self, wide_BD: Tensor) -> None:
        if self.totals is None:
            self.totals = self._zeros(wide_BD.shape[1] + 1)
        self.totals[:-1] += wide_BD.sum(0)
        self.totals[-1] += len(wide_BD)

    def sums(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """counts_K, sums_KD, gram_DD and moments_CC of all that was taken in, on the CPU.

        They are plain sums: what was shifted is shifted back. Called once, at the end.
        """
        self.flush()
        counts_K, sums_KD = self.counts_K.cpu(), self.sums_KD.cpu()
        gram_DD, moments_CC = mirror(self.gram_DD), self.moments.finish()
        if self.shift_D is None:
            return counts_K, sums_KD, gram_DD, moments_CC
        shift_D, totals = self.shift_D.to(gram_DD), total_of(counts_K, sums_KD, self.totals)
        count = totals[-1]
        sum_D = totals[:-1] - count * shift_D
        with_sums_DD = bordered(gram_DD, sum_D, count)
        return counts_K, sums_KD, unshifted(with_sums_DD, shift_D)[:-1, :-1], moments_CC


def total_of(counts_K: Tensor, sums_KD: Tensor, totals: Tensor | None) -> Tensor:
    """Sum of the features over samples, then the number of samples: (D + 1,) float64 on the CPU."""
    if totals is not None:
        return totals.cpu()
    return torch.cat([sums_KD.sum(0), counts_K.sum()[None]])


def add_gram(gram_DD: Tensor, features_BD: Tensor) -> None:
    """Add X^T X to the upper triangle of blocks: half the work of the full product."""
    for start in range(0, features_BD.shape[1], BLOCK):
        stop = start + BLOCK
        product = features_BD[:, start:stop].T @ features_BD[:, start:]
        gram_DD[start:stop, start:] += product.to(gram_DD.device)


def add_moments(moments_CC: Tensor, rows_RC: Tensor) -> None:
    """Add the second moments of [channels; 1] (upper triangle of blocks)."""
    add_gram(moments_CC[:-1, :-1], rows_RC)
    sum_C = rows_RC.sum(0).to(moments_CC.device, torch.float64)
    moments_CC[:-1, -1] += sum_C
    moments_CC[-1, :-1] += sum_C
    moments_CC[-1, -1] += len(rows_RC)


def mirror(upper: Tensor) -> Tensor:
    """Fill the blocks below the diagonal from those above, in place; returned on the CPU."""
    upper = upper.cpu()
    for start in range(0, len(upper), BLOCK):
        stop = start + BLOCK
        upper[stop:, start:stop] = upper[start:stop, stop:].T
    return upper
