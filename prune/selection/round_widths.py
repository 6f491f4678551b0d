"""Round widths: what most hardware is fast at, known before anything is measured.

Processors work on channels in blocks of 4, 8 or 16. A network of odd widths can be slower than the
one it came from, depthwise convolutions above all (`docs/latency.md`). Where a layer is wide, round
widths cost no accuracy; a narrow one gets finer steps, or it would have no choice.
"""

from ..structure.units import Structure

COARSEST = (16, 8, 4, 2)
"""Largest steps to try in turn, until the budget can be met. Processors with AVX-512 take float32
channels in blocks of 16: 8 filters cost what 16 cost, 24 what 32 cost (`docs/latency.md`)."""
STEPS = 4
"""A layer has at least so many widths to choose from: steps of 16 only from 64 filters on. The
widths that `docs/latency.md` measures by default follow it; other numbers were not compared."""


def round_widths(structure: Structure, coarsest: int) -> dict[str, tuple[int, ...]]:
    """Group -> its round widths, ascending, the whole width among them.

    They are multiples of the largest power of two that is at most `coarsest` and a quarter of the
    whole width.
    """
    return {
        group.name: tuple(sorted({*range(step, width, step), width}))
        for group in structure.groups
        for width in [len(group.units)]
        for step in [step_of(width, coarsest)]
    }


def step_of(width: int, coarsest: int) -> int:
    """Step between the round widths of a layer.

    >>> [step_of(width, 16) for width in (3, 16, 24, 32, 64, 512)]
    [1, 4, 4, 8, 16, 16]
    """
    most = max(1, min(coarsest, width // STEPS))
    return 1 << (most.bit_length() - 1)
