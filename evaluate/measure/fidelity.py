"""How close networks are to the original at its own outputs, on a part of the data.

Shapes: N images of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...prune.errors import InputError
from ...prune.forward import batch_size_of, call, evaluating, tensors_of
from ...prune.output_score import (
    OutputFidelity,
    OutputSpread,
    OutputTally,
    SpreadSums,
    float_outputs,
)

if TYPE_CHECKING:
    from ...prune.inputs.split import Inputs, Split

FIDELITY_BATCH = 250
"""Images at once, unless the split gives fewer; it bounds memory."""
HELD_BYTES = 512 * 2**20
"""Inputs and outputs of the original that are kept between two looks, for each part of the data;
larger ones are computed again. Time against memory only."""


@dataclass
class _Seen:
    """What is kept of one part of the data: the scale, and batches where they fit."""

    split: "Split"
    scale: OutputSpread
    batches: "list[tuple[Inputs, dict[str, Tensor]]] | None"


@dataclass(eq=False)
class OutputJudge:
    """Compares networks with the original; what it gives is computed once where memory allows.

    Inputs are kept with it: a data set that augments at random would give others next time.

    Attributes:
        original: on `device`; never changed.
    """

    original: nn.Module
    device: torch.device
    _seen: dict[tuple[int, int | None], _Seen] = field(default_factory=dict)

    def score(self, model: nn.Module, split: "Split", limit: int | None = None) -> OutputFidelity:
        """Fidelity of a network on so many images of a split.

        Raises:
            InputError: the split is empty, or outputs are of other sizes, or not finite.
        """
        seen = self._look(split, limit)
        tally = OutputTally(seen.scale)
        for inputs, expected in self._batches(seen.batches, split, limit):
            with evaluating(model):
                found = float_outputs(call(model, inputs))
            tally.add(found, expected, batch_size_of(inputs))
        return tally.score()

    def scale(self, split: "Split", limit: int | None = None) -> OutputSpread:
        """How the original's outputs vary there."""
        return self._look(split, limit).scale

    def _look(self, split: "Split", limit: int | None) -> _Seen:
        key = (id(split), limit)
        if key not in self._seen:
            self._seen[key] = self._first_look(split, limit)
        return self._seen[key]

    def _first_look(self, split: "Split", limit: int | None) -> _Seen:
        sums, kept, size = SpreadSums(), list[tuple["Inputs", dict[str, Tensor]]](), 0
        any_image = False
        for inputs, outputs in self._batches(None, split, limit):
            any_image = True
            sums.add(outputs)
            size += sum(x.nbytes for x in (*tensors_of(inputs), *outputs.values()))
            if size > HELD_BYTES:
                kept.clear()
            else:
                kept.append((inputs, outputs))
        if not any_image:
            raise InputError(
                "an empty part of the data given; expected at least one image to compare on; give "
                "more data"
            )
        return _Seen(split, sums.scale(), kept if size <= HELD_BYTES else None)

    def _batches(
        self,
        kept: "list[tuple[Inputs, dict[str, Tensor]]] | None",
        split: "Split",
        limit: int | None,
    ) -> "Iterator[tuple[Inputs, dict[str, Tensor]]]":
        """Inputs, and what the original gives for them."""
        if kept is not None:
            yield from kept
            return
        for inputs, _ in split.batches(FIDELITY_BATCH, device=self.device, limit=limit):
            with evaluating(self.original):
                outputs = float_outputs(call(self.original, inputs))
            yield inputs, outputs
