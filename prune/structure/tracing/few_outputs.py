"""A classifier that tells fewer labels apart: the rest of its logits' columns are cut out.

What writes a column is found as filters are, by tags that ride along, whatever lies between the
last layer and the outputs (pooling, sums, a scale, a permutation). A column takes with it all that
computes it alone: a row of the classifier, its bias, the second head of an ensemble.

Shapes: N images, K labels of the network, L kept ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from ...forward import call_on_copies, evaluating
from ...outputs import largest_difference, logits_of
from ..certificate import CERTIFICATE_TOLERANCE
from ..cut import Cut
from ..surgery import remove
from ..units import AxisKey, IntArray, Structure
from .trace import FreeLogits, trace_logits


@dataclass(frozen=True)
class FewOutputs:
    """A network with some of its outputs, and where they were.

    Attributes:
        model: the smaller network.
        kept: positions of tensor axes that are left, as a `Cut` has them.
    """

    model: nn.Module
    kept: Mapping[AxisKey, IntArray]


@dataclass(frozen=True)
class _Without:
    """A removal of these units."""

    units: IntArray

    def removed_units(self, structure: Structure) -> IntArray:
        return np.sort(self.units)


def keep_outputs(model: nn.Module, example_inputs: Any, outputs: Sequence[int]) -> FewOutputs:
    """A copy of a classifier that has these columns of its logits alone, in ascending order.

    The columns are the same numbers as before, which is checked on the inputs. After a softmax or
    log-softmax they are those of the kept labels alone.

    Args:
        example_inputs: a batch; `forward.call` takes it.
        outputs: columns that stay.

    Raises:
        InputError: a column cannot go without the others, or others change when it goes.
    """
    stay = np.unique(np.asarray(outputs, dtype=np.int64))
    found = trace_logits(model, example_inputs)
    units = _units_of_others(found, stay)
    cut = Cut(found.structure, _Without(units))
    smaller = remove(model, cut)
    if _differs(model, smaller, example_inputs, stay):
        mixing = found.structure.mixing
        raise InputError(
            f"`labels_kept` given for a {type(model).__name__} whose outputs change each other"
            f"{f' ({mixing[0]})' if mixing else ''}; expected a network whose last layer has a "
            "filter for each label, and nothing after it that joins labels; leave it out"
        )
    return FewOutputs(smaller, cut.kept)


def _units_of_others(found: FreeLogits, stay: IntArray) -> IntArray:
    """Units of the columns that go.

    Raises:
        InputError: some have none of their own.
    """
    unit_K = found.unit_K
    goes = np.setdiff1d(np.arange(len(unit_K)), stay)
    shared = np.isin(unit_K[goes], unit_K[stay]).any()
    if not len(unit_K) or (unit_K < 0).any() or shared:
        why = found.reason or "labels share a filter"
        raise InputError(
            f"`labels_kept` given for a network whose outputs cannot go one by one ({why}); "
            "expected a last layer with a filter for each label; leave it out"
        )
    return np.unique(unit_K[goes])


def _differs(model: nn.Module, smaller: nn.Module, inputs: Any, stay: IntArray) -> bool:
    """Whether the kept columns are others than before, as no reading of logits explains."""
    with evaluating(model), evaluating(smaller):
        before_NL = logits_of(call_on_copies(model, inputs))[:, torch.from_numpy(stay)]
        after_NL = logits_of(call_on_copies(smaller, inputs))
    if before_NL.shape != after_NL.shape:
        return True
    pairs = ((read(before_NL), read(after_NL)) for read in READINGS)
    return all(largest_difference([a], [b]) > CERTIFICATE_TOLERANCE for a, b in pairs)


def _centred(logits_NL: Tensor) -> Tensor:
    return logits_NL - logits_NL.mean(1, keepdim=True)


def _shares(probabilities_NL: Tensor) -> Tensor:
    return probabilities_NL / probabilities_NL.sum(1, keepdim=True)


READINGS: tuple[Callable[[Tensor], Tensor], ...] = (Tensor.clone, _centred, _shares)
"""Forms in which kept columns may equal those before: as they are; but for a number that all labels
of an image share (log-softmax); but for a factor (softmax)."""
