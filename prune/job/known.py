"""What is known in the course of a job, one frozen value a stage: Case -> Measured -> Planned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from ...evaluate.measure.accuracy import measure_score
from ...evaluate.measure.fidelity import OutputJudge
from ..errors import InputError
from ..forward import batch_size_of, tensors_of
from ..inputs.identity import weights_digest
from ..inputs.split import Batch, DataSet, Inputs
from ..mechanism.network import TracedNetwork
from ..mechanism.spectrum import Spectrum
from ..mechanism.statistics import Statistics
from ..progress import Progress, RunLog, counted
from ..scores import Score
from ..selection.criteria import Ranking
from ..shown import short_repr
from ..structure.cost import CostModel
from ..structure.cut import Cut
from ..structure.depth import DepthCut
from ..structure.plan import Plan
from ..structure.units import Structure
from .kept import Kept

BATCH_SIZE = 250
"""Images of one forward pass while measuring: large enough to be efficient, small in memory."""
EXAMPLES = 8
"""Held-out images that a structure is traced with and a certificate checked on."""
HELD_OUT_IMAGES = 2000
"""Held-out images that choices are made on, a seeded part where there are more: their standard
error is then at most 1.1 points."""
INPUT_BYTES = 256 * 2**20
"""Inputs that a network without labels is measured, repaired and judged on in one pass, where the
images are large: their positions are many, so that fewer images are needed. 2,000 of 105 x 105."""
LEAST_IMAGES = 64
"""So many images are taken however large they are."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network and what rides with it through a job.

    Attributes:
        model: on `device`. It is never changed.
        data: what it is measured on, and trained with.
        seed: of every random choice.
        log: how the job tells where it is.
        kept: what finished stages gave, where a run keeps it.
        outputs: compares networks with the original's outputs, where these are no class scores;
            None where labels judge.
        label_names: of the labels, as pages show them; empty: as the data name them.
    """

    model: nn.Module
    data: DataSet
    device: torch.device
    seed: int = 0
    log: RunLog = field(default_factory=RunLog)
    kept: Kept = field(default_factory=Kept)
    outputs: OutputJudge | None = None
    label_names: tuple[str, ...] = ()

    __repr__ = short_repr

    def of(self, model: nn.Module) -> "Case":
        """The same case with another network; itself with its own."""
        return self if model is self.model else replace(self, model=model)

    @cached_property
    def digest(self) -> str:
        """Of the network's weights."""
        return weights_digest(self.model)

    @property
    def num_labels(self) -> int:
        """K."""
        return len(self.data.labels)

    @property
    def shown_labels(self) -> tuple[str, ...]:
        """A name for each label, as pages show it."""
        return self.label_names or self.data.labels

    @cached_property
    def example(self) -> Inputs:
        """A few held-out images, (N, C, H, W) or as the data set gives them.

        Raises:
            InputError: there are none.
        """
        first = next(iter(self.data.held_out.batches(EXAMPLES, device=self.device)), None)
        if first is None:
            raise InputError(
                f"data without held-out images given ({self.data.train.num_images} images for "
                f"{self.num_labels} labels); expected two images of a label or more, so that one "
                "can be held out; give more images, or `held_out`"
            )
        return first[0]

    def at_most(self, limit: int) -> int:
        """So many images, or fewer where there are no labels and they are large."""
        if self.outputs is None:
            return limit
        size = sum(x.nbytes for x in tensors_of(self.example)) / batch_size_of(self.example)
        return min(limit, max(LEAST_IMAGES, int(INPUT_BYTES / size)))

    def training(self, limit: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        """Batches of so many training images, not augmented."""
        return self.data.train.batches(
            BATCH_SIZE, device=self.device, limit=self.at_most(limit), shuffle_seed=shuffle_seed
        )

    def held_out(self, limit: int = HELD_OUT_IMAGES) -> Iterator[Batch]:
        """Batches of so many held-out images, the same ones every time."""
        return self.data.held_out.batches(BATCH_SIZE, device=self.device, limit=self.at_most(limit))

    def num_training(self, limit: int) -> int:
        """How many images `training` gives."""
        return min(self.at_most(limit), self.data.train.num_images)

    def both_parts(
        self, limit: int, progress: Progress, held_out_limit: int = HELD_OUT_IMAGES
    ) -> tuple[Iterator[Batch], Iterator[Batch]]:
        """Batches of training and of held-out images, which are gone through in this order.

        Args:
            progress: called with (images done, images of both together).
        """
        first = self.num_training(limit)
        total = first + min(self.at_most(held_out_limit), self.data.held_out.num_images)
        return (
            counted(self.training(limit), progress, total),
            counted(self.held_out(held_out_limit), progress, total, before=first),
        )

    def traced(self, structure: Structure) -> TracedNetwork:
        """The network as the mechanism measures it."""
        return TracedNetwork(self.model, structure, self.num_labels, self.device)

    @cached_property
    def accuracy(self) -> Score:
        """Held-out score of the network, on the images that choices are made on."""
        limit = self.at_most(min(self.data.held_out.num_images, HELD_OUT_IMAGES))
        if self.outputs is not None:
            return self.outputs.score(self.model, self.data.held_out, limit)
        return measure_score(self.model, self.data.held_out, device=self.device, limit=limit)


@dataclass(frozen=True)
class Amounts:
    """What a network has: removable filters, multiply-adds of one image, parameters."""

    keep: int
    macs: int
    params: int

    @staticmethod
    def of(cost: CostModel, widths: Sequence[int]) -> "Amounts":
        """Counts for any widths of the groups."""
        widths_G = np.array(widths, dtype=np.int64)
        return Amounts(int(widths_G.sum()), cost.macs(widths_G), cost.params(widths_G))


@dataclass(frozen=True)
class Measured:
    """What is known of a network before anything is ranked.

    Attributes:
        statistics: without the sums that probes alone need, once a ranking is chosen.
        spectrum: what filters do to labels; None where there are none.
        efficient: group -> the only widths that it may have; empty where all may be had.
        sensitivity: group -> how much its errors change the outputs (`sensitivity.py`); empty
            where the allocation does not ask for it.
    """

    structure: Structure
    cost: CostModel
    statistics: Statistics
    spectrum: Spectrum | None
    efficient: Mapping[str, Sequence[int]] = field(default_factory=dict)
    sensitivity: Mapping[str, float] = field(default_factory=dict)

    __repr__ = short_repr

    @property
    def whole(self) -> Amounts:
        """What the network has."""
        return Amounts.of(self.cost, [len(group.units) for group in self.structure.groups])


@dataclass(frozen=True)
class Planned:
    """Everything known before the first filter goes.

    Attributes:
        model: the network that all of it speaks of: the one that came in, unless it was cut in
            depth.
        original: counts of the network that came in.
        depth: how it was cut in depth; None where it was not.
        depth_top1: held-out accuracy after repair at every depth that was compared.
        contest: held-out accuracy of every criterion that was tried, best first; empty where one
            was asked for.
        reference_ms: latency of the original that a latency budget was measured by.
        notes: what was decided on the way, a line each.
    """

    model: nn.Module
    measured: Measured
    ranking: Ranking
    plan: Plan
    original: Amounts
    depth: DepthCut | None = None
    depth_top1: Mapping[str, float] = field(default_factory=dict)
    contest: Mapping[str, float] = field(default_factory=dict)
    reference_ms: float | None = None
    notes: tuple[str, ...] = ()

    __repr__ = short_repr

    @cached_property
    def cut(self) -> Cut:
        """What the plan removes from `model`."""
        return Cut(self.measured.structure, self.plan)

    @property
    def left(self) -> Amounts:
        """What the plan leaves."""
        return Amounts.of(self.measured.cost, [len(layer.kept) for layer in self.plan.layers])
