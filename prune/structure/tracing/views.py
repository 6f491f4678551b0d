"""Tag rules of operations that see the same positions in another shape.

Index maps are exact by construction: the operation is executed on the tags themselves. Where an
axis is split, its parts are coupled so that what remains is still rectangular.
"""

from collections.abc import Container
from typing import Any

from torch import Tensor

from .following import (
    channels_given,
    counts_heads,
    follow_input,
    in_blocks_of_heads,
    readings_of_heads,
)
from .op import Op, aten, rule
from .stated import Candidate
from .tags import Fields, axes_of, blocks, lift, narrow_constant, narrow_expanded, on_axis

# A weight that passes through these is still that weight.
KEEPS_ORIGIN = {
    *("t", "transpose", "permute", "view", "_unsafe_view", "reshape", "_reshape_alias", "expand"),
    *("detach", "alias", "clone", "_to_copy", "split", "split_with_sizes", "chunk", "slice"),
    *("select", "unsqueeze", "squeeze"),
}

BEFORE_INPUT = (None, None)
"""As many attributes of equal value are tried before the size is read as the input's (None).

They are counted alike in all instances of a class, of which some have no such attribute.
"""


@rule(aten.permute, aten.transpose, aten.t, aten.unsqueeze, aten.squeeze, aten.numpy_T, aten.t_)
@rule(aten.transpose_, aten.unsqueeze_, aten.squeeze_, aten.movedim)
def as_view(op: Op) -> Fields:
    """Run the operation on each field, expanded to the tensor's shape (no memory)."""
    shape = op.args[0].shape
    moved = (op.func(x.expand(shape), *op.args[1:], **op.kwargs) for x in op.fields())
    return tuple(narrow_expanded(x) for x in moved)


@rule(aten.alias, aten.detach, aten.detach_, aten.flip)
def same_axes(op: Op) -> Fields:
    """Nothing moves between axes; a flip turns the tags round."""
    if op.name != "flip":
        return op.fields()
    return tuple(op.func(x, *op.args[1:]) for x in op.fields())


@rule(aten.as_strided, aten.as_strided_)
def restride(op: Op) -> Fields:
    """Another memory format of the same shape; any other use of strides is not understood."""
    if tuple(op.args[0].shape) == tuple(op.out.shape) and not op.arg(3, "storage_offset"):
        return op.fields()
    for field in op.fields():
        op.pin(field, "its memory is read in another shape")
    return ()


@rule(aten.expand)
def expand(op: Op) -> Fields:
    """Copies along an axis of size 1 take any size: fresh tags there, or those of a stated size."""
    x, out = op.args[0], op.out
    before = (1,) * (out.ndim - x.ndim) + tuple(x.shape)
    grown = [a for a, size in enumerate(out.shape) if size > 1 and before[a] == 1]
    fresh = [on_axis(op.tags.of_copies(out.shape[a]), a, out.ndim) for a in grown]
    for axis, tags in zip(grown, fresh, strict=True):
        op.read_as_stated(op.args[1], axis, tags)
    return (*(lift(x, out.ndim) for x in op.fields()), *fresh)


@rule(aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.unflatten, aten.flatten)
def view(op: Op) -> Fields:
    """Merge axes by expanding tags; split an axis by coupling what must stay rectangular."""
    source, target = tuple(op.args[0].shape), tuple(op.out.shape)
    asked = op.arg(1, "size")
    fields = _without_copies(op, op.fields(), blocks(source, target))
    return tuple(x for field in fields for x in _regroup(op, field, source, target, asked))


def _without_copies(op: Op, fields: Fields, merged: list[tuple[range, range]]) -> Fields:
    """Where axes become one, copies along one of them are as many as before if another shrinks."""
    spare: list[Tensor] = []
    for from_axes, _ in merged:
        inside = [x for x in fields if axes_of(x) & set(from_axes)]
        copies = [x for x in inside if op.tags.are_of_copies(x)]
        spare += copies if len(copies) < len(inside) else []
    for field in spare:
        op.pin(field, "copies of another axis are counted by it")
    return tuple(x for x in fields if not any(x is y for y in spare))


def _regroup(
    op: Op, field: Tensor, source: tuple[int, ...], target: tuple[int, ...], asked: Any
) -> Fields:
    """One field seen through a view: at most one axis of each split block keeps tags."""
    field = in_blocks_of_heads(op, field)
    sizes_in, sizes_out = list(field.shape), [1] * len(target)
    touched: list[range] = []
    for from_axes, to_axes in blocks(source, target):
        if any(field.shape[axis] > 1 for axis in from_axes):
            touched.append(to_axes)
            for axis in from_axes:
                sizes_in[axis] = source[axis]
            for axis in to_axes:
                sizes_out[axis] = target[axis]
    regrouped = narrow_constant(field.expand(sizes_in).reshape(sizes_out))
    for to_axes in touched:
        is_split = len(axes_of(regrouped) & set(to_axes)) > 1
        regrouped = _keep_rectangular(op, regrouped, to_axes, asked)
        if axes_of(regrouped) <= set(to_axes) and not is_split:
            _tie_stated(op, regrouped, to_axes, asked)
    return (regrouped,) if axes_of(regrouped) else ()


def _keep_rectangular(op: Op, field: Tensor, to_axes: range, asked: Any) -> Tensor:
    """Couple all axes of a split but one: counting heads, or of open size (-1), or the largest."""
    varying = [axis for axis in to_axes if field.shape[axis] > 1]
    if len(varying) < 2:
        return field
    op.couples = True
    open_size = {a for a in varying if isinstance(asked, list | tuple) and asked[a] == -1}
    heads = _heads(op, field, varying)
    ranked = sorted(
        varying, key=lambda a: (a in heads, a in open_size, field.shape[a], a), reverse=True
    )
    following = readings_of_heads(op, tuple(field.shape), varying)
    readings = [(a, x) for a in ranked for x in _stated_or_not(op, asked, a, heads)]
    with_stated = (i for i, (_, x) in enumerate(readings) if x is not None and not heads)
    num_stated = max(with_stated, default=0) + 1
    op.num_choices = max(op.num_choices, len(readings) + len(following))
    if num_stated <= op.choice < num_stated + len(following):
        return following[op.choice - num_stated](field)
    later = op.choice if op.choice < num_stated else op.choice - len(following)
    survivor, stated = readings[min(later, len(readings) - 1)]
    for axis in varying:
        if axis != survivor:
            field = op.tags.couple(field, axis)
    if survivor in heads and survivor not in open_size:
        op.tie(heads[survivor], field)
    if stated is not None:
        op.follow(stated, field)
    return field


def _heads(op: Op, field: Tensor, varying: list[int]) -> dict[int, str]:
    """Axes of a split as long as there are heads, and the attribute that counts those.

    Of several (32 heads of width 32) the one before the width: heads are blocks of channels. None
    of a constant: the windows of a mask may be as wide as there are heads.
    """
    if op.tags.are_of_constant(field):
        return {}
    found = {a: name for a in varying for name in op.stated(field.shape[a]) if counts_heads(name)}
    before_width = varying[-2]
    return {before_width: found[before_width]} if before_width in found else found


def _stated_or_not(
    op: Op, asked: Any, axis: int, heads: Container[int]
) -> tuple[Candidate | None, ...]:
    """A split axis is read as it is, then as stated (groups), if an attribute has its size.

    Two readings either way: they are counted alike in all instances of a class.
    """
    if axis in heads:
        return (None,)
    if not isinstance(asked, list | tuple) or asked[axis] == -1:
        return None, None
    equal = [x for x in op.candidates(asked, axis) if x.value == asked[axis]]
    before = list(asked[:axis]).count(asked[axis])  # of two equal sizes, the first is the attribute
    return None, equal[before] if before < len(equal) else None


def _tie_stated(op: Op, field: Tensor, to_axes: range, asked: Any) -> None:
    """A size asked for that an attribute or the input has: read as that when a trial failed."""
    varying = [axis for axis in to_axes if field.shape[axis] > 1]
    if len(varying) != 1 or not isinstance(asked, list | tuple) or asked[varying[0]] == -1:
        return
    if not channels_given(op, field.numel()):
        op.read_as_stated(asked, varying[0], field)
        return
    found = op.candidates(asked, varying[0])
    equal = [x for x in found if x.value == field.numel()][: len(BEFORE_INPUT)]
    first = [*equal, *BEFORE_INPUT[len(equal) :]]
    readings: list[Candidate | None] = [*first, None, *found[len(equal) :]]
    op.num_choices = max(op.num_choices, 1 + len(readings))
    stated = readings[min(op.choice, len(readings)) - 1]
    if op.choice and stated is not None:
        op.follow(stated, field)
    elif op.choice:
        follow_input(op, field)


@rule(aten.pixel_shuffle, aten.pixel_unshuffle)
def pixel_shuffle(op: Op) -> Fields:
    """Blocks of r * r channels become one: they go together."""
    factor = int(op.args[1]) ** 2
    moved = []
    for field in op.fields():
        if axes_of(field) != {field.ndim - 3}:
            op.pin(field, "it is a spatial axis of a pixel shuffle")
        elif op.name == "pixel_shuffle":
            blocked = field.reshape(*field.shape[:-3], -1, factor, 1)
            moved.append(
                op.tags.couple(blocked, field.ndim - 2).reshape(*field.shape[:-3], -1, 1, 1)
            )
        else:
            moved.append(field.repeat_interleave(factor, dim=field.ndim - 3))
    return tuple(moved)
