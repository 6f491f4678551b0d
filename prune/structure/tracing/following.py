"""Sizes that attention takes from what it is given: heads and widths that follow the input.

`B, N, C = x.shape` and then `reshape(B, N, 3, heads, C // heads)`: the width of a head is what the
channels of the input leave for it. Heads go only together with blocks of those channels, or as
much width inside every head with channels at the same positions.

Shapes: H heads, W width of a head, C = H * W channels of the input.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

from torch import Tensor, nn

from .op import Op
from .tags import axes_of

Reading = Callable[[Tensor], Tensor]
"""Takes a field that varies along several axes of a split; returns it with tags along one."""


def counts_heads(attribute: str) -> bool:
    """`num_heads`, `heads`, `num_attention_heads`; not `head_dim` or `attention_head_size`."""
    return "head" in attribute and not any(x in attribute for x in ("dim", "size", "per"))


def channels_given(op: Op, count: int) -> list[Tensor]:
    """Tags (count,) of axes of so many channels, of the tensors that the running module was given.

    The last axis of each tensor is looked at first, then the second.
    """
    found: list[Tensor] = []
    for tensor in op.given:
        axes = [axis for axis in (tensor.ndim - 1, 1) if 0 <= axis < tensor.ndim]
        along = (x for axis in axes for x in op.get(tensor) if axes_of(x) == {axis})
        found += [x.reshape(-1) for x in along if x.numel() == count][:1]
    return found


def readings_of_heads(op: Op, sizes: tuple[int, ...], varying: Iterable[int]) -> list[Reading]:
    """How a split into heads and their width (adjacent axes of a view) follows the input.

    An axis as wide as the input is the width of a single head.
    """
    readings: list[Reading] = []
    axes = list(varying)
    for axis in axes:
        for channels in channels_given(op, sizes[axis])[:1]:
            readings.append(_same_width(op, channels.reshape(1, -1), axis))
    for first, second in pairwise(axes):
        num_heads, width = sizes[first], sizes[second]
        for channels in channels_given(op, num_heads * width)[:1]:
            blocks = channels.reshape(num_heads, width)
            if any(counts_heads(name) for name in op.stated(num_heads)):
                readings.append(_whole_heads(op, blocks, first))
            readings.append(_same_width(op, blocks, second))
    return readings


def _whole_heads(op: Op, channels_HW: Tensor, axis: int) -> Reading:
    """A head goes with its block of the input's channels."""

    def read(field: Tensor) -> Tensor:
        heads = _only_along(op, field, axis)
        op.tags.unite(heads.reshape(-1), op.tags.couple(channels_HW, 1).reshape(-1))
        for name in op.stated(field.shape[axis]):
            if counts_heads(name):
                op.tie(name, heads)
        _tie_widths(op, heads.reshape(-1, 1).expand(channels_HW.shape).reshape(-1))
        return heads

    return read


def _same_width(op: Op, channels_HW: Tensor, axis: int) -> Reading:
    """A position inside every head goes with the channels at that position of every block."""

    def read(field: Tensor) -> Tensor:
        inside = _only_along(op, field, axis)
        op.tags.unite(inside.reshape(-1), op.tags.couple(channels_HW, 0).reshape(-1))
        for name in op.stated(field.shape[axis]):
            if "head" in name and not counts_heads(name):
                op.tie(name, inside)
        _tie_widths(op, inside.reshape(1, -1).expand(channels_HW.shape).reshape(-1))
        return inside

    return read


def _only_along(op: Op, field: Tensor, axis: int) -> Tensor:
    """The field coupled along every other axis."""
    for other in sorted(axes_of(field) - {axis}):
        field = op.tags.couple(field, other)
    return field


def _tie_widths(op: Op, channels: Tensor) -> None:
    """Attributes of the module that state the width of its input (`dim`, `embed_dim`) follow."""
    for name in op.stated(channels.numel()):
        if "dim" in name and "head" not in name:
            op.tie(name, channels)


def follow_input(op: Op, field: Tensor) -> None:
    """A size asked for in numbers, which the input has too: both shrink together."""
    for channels in channels_given(op, field.numel())[:1]:
        op.tags.unite(field.reshape(-1), channels)


def in_blocks_of_heads(op: Op, field: Tensor) -> Tensor:
    """The channels of `nn.MultiheadAttention`: its code takes all sizes from two attributes.

    Every axis of C, 2 C (keys and values) or 3 C channels consists of blocks of W, one for each
    head, the same for query, key, value and output.
    """
    module = op.module
    if not isinstance(module, nn.MultiheadAttention) or len(axes_of(field)) != 1:
        return field
    (axis,) = axes_of(field)
    parts, rest = divmod(field.shape[axis], module.embed_dim)
    if rest or parts not in (1, 2, 3):
        return field
    blocks = field.reshape(parts, module.num_heads, -1)
    heads = op.tags.couple(op.tags.couple(blocks, 0), 2)
    channels = heads.expand(1, *blocks.shape[1:]).reshape(-1)
    op.tie("num_heads", heads)
    for name in ("embed_dim", "kdim", "vdim"):
        if name in op.stated(module.embed_dim):
            op.tie(name, channels)
    return channels.repeat(parts).reshape(field.shape)
