"""Filters that stay although nothing pins them, and lines of code that may be why.

A reading that passes its trial can still leave little that can go: where every head goes as a whole
and the groups of a convolution lose the same positions each, no channel is left that can. Another
reading (the width inside every head, whole groups) may leave more.
"""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..units import Structure
from .layers import ALONE, SPATIAL, layers_of
from .recording import Recording
from .stack import common_owner
from .tags import Components, axes_of

Mask = NDArray[np.bool_]


def num_removable(structure: Structure, recording: Recording) -> int:
    """Positions that can go, on all axes of all tensors."""
    axes = structure.axes.items()
    tensors = (units for (name, _), units in axes if name not in recording.attributes)
    return sum(int((units >= 0).sum()) for units in tensors)


def stuck_lines(
    model: nn.Module, recording: Recording, components: Components, structure: Structure
) -> list[list[int]]:
    """Operations that may couple other filters, and touch some that stay, by line of code.

    Stuck are filters that nothing pins, but which could only go all together, and those that a
    convolution slides along, which may be a head's width that was taken for the heads (MViTv2).
    What another operation pins stays: a trial has asked for the other readings of its code.
    """
    stuck_C = _stuck(model, recording, components, structure)
    lines: dict[object, list[int]] = {}
    for index, record in enumerate(recording.records):
        if record.op.couples and record.num_choices > 1:
            touched = [x for x in record.touched if stuck_C[components.of(x)].any()]
            if touched:
                height, _ = common_owner(record.place, record.place)
                axes = frozenset((axes_of(x), x.ndim) for x in touched)
                line = record.place.seen_from(height), record.num_choices, axes
                lines.setdefault(line, []).append(index)
    return list(lines.values())


def _stuck(
    model: nn.Module, recording: Recording, components: Components, structure: Structure
) -> Mask:
    """Whether a component is of filters that are stuck."""
    stuck_C = np.zeros(len(components.pin_C), dtype=np.bool_)
    for layer in layers_of(model, recording):
        reason = structure.kept_whole.get(layer.name, "")
        if not reason.endswith(ALONE) and SPATIAL not in reason:
            continue
        for field in recording.tensors[layer.weight]:
            if axes_of(field) == {layer.out_axis}:
                own = components.of(field)
                units = structure.axes.get((layer.weight, layer.out_axis))
                stuck_C[own if units is None else own[units < 0]] = True
    return stuck_C
