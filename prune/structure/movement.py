"""Label rules of operations that move data: executed on the labels themselves.

Index maps are exact by construction. Where an axis is split, its parts are coupled so that what
remains is still rectangular; where an index is written into the code, the axis stays whole.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .labels import (
    Fields,
    axes_of,
    blocks,
    find,
    lift,
    narrow_constant,
    narrow_expanded,
    on_axis,
)
from .op import Op, rule

aten = torch.ops.aten

# A weight that passes through these is still that weight.
KEEPS_ORIGIN = {
    *("t", "transpose", "permute", "view", "_unsafe_view", "reshape", "_reshape_alias", "expand"),
    *("detach", "alias", "clone", "_to_copy", "split", "split_with_sizes", "chunk", "slice"),
    *("select", "unsqueeze", "squeeze"),
}


@rule(aten.permute, aten.transpose, aten.t, aten.unsqueeze, aten.squeeze, aten.numpy_T, aten.t_)
@rule(aten.transpose_, aten.unsqueeze_, aten.squeeze_, aten.movedim)
def as_view(op: Op) -> Fields:
    """Run the operation on each field, expanded to the tensor's shape (no memory)."""
    shape = op.args[0].shape
    moved = (op.func(x.expand(shape), *op.args[1:], **op.kwargs) for x in op.fields())
    return tuple(narrow_expanded(x) for x in moved)


@rule(aten.alias, aten.detach, aten.detach_, aten.flip)
def same_axes(op: Op) -> Fields:
    """Nothing moves between axes; a flip turns the labels round."""
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
    """Copies along an axis of size 1 take any size: fresh labels there."""
    x, out = op.args[0], op.out
    before = (1,) * (out.ndim - x.ndim) + tuple(x.shape)
    grown = [a for a, size in enumerate(out.shape) if size > 1 and before[a] == 1]
    fresh = [on_axis(op.labels.fresh(out.shape[a]), a, out.ndim) for a in grown]
    return (*(lift(x, out.ndim) for x in op.fields()), *fresh)


@rule(aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.unflatten, aten.flatten)
def view(op: Op) -> Fields:
    """Merge axes by expanding labels; split an axis by coupling what must stay rectangular."""
    source, target = tuple(op.args[0].shape), tuple(op.out.shape)
    asked = op.arg(1, "size")
    return tuple(x for field in op.fields() for x in _regroup(op, field, source, target, asked))


def _regroup(
    op: Op, field: Tensor, source: tuple[int, ...], target: tuple[int, ...], asked: Any
) -> Fields:
    """One field seen through a view: at most one axis of each split block keeps labels."""
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
        regrouped = _keep_rectangular(op, regrouped, to_axes, asked)
    return (regrouped,) if axes_of(regrouped) else ()


def _keep_rectangular(op: Op, field: Tensor, to_axes: range, asked: Any) -> Tensor:
    """Couple all axes of a split but one: the one of open size (-1), or else the largest."""
    varying = [axis for axis in to_axes if field.shape[axis] > 1]
    if len(varying) < 2:
        return field
    open_size = {a for a in varying if isinstance(asked, list | tuple) and asked[a] == -1}
    ranked = sorted(varying, key=lambda a: (a in open_size, field.shape[a], a), reverse=True)
    op.num_choices = max(op.num_choices, len(ranked))
    survivor = ranked[min(op.choice, len(ranked) - 1)]
    for axis in varying:
        if axis != survivor:
            field = op.labels.couple(field, axis)
    return field


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
                op.labels.couple(blocked, field.ndim - 2).reshape(*field.shape[:-3], -1, 1, 1)
            )
        else:
            moved.append(field.repeat_interleave(factor, dim=field.ndim - 3))
    return tuple(moved)


@rule(aten.cat, aten.concat)
def cat(op: Op) -> Fields:
    """Labels in a row along the axis; the other axes meet."""
    tensors: list[Tensor] = [x for x in op.args[0] if x.shape != (0,)]
    axis = int(op.arg(1, "dim", 0)) % op.out.ndim
    across: Fields = ()
    for field in (x for t in tensors for x in op.get(t) if axis not in axes_of(x)):
        across = op._join(across, field)
    for found in across:
        if not all(_covers(op, tensor, found) for tensor in tensors):
            op.pin(found, "it is concatenated with a tensor of fixed size")
    rows = [find(op.get(tensor), axis) for tensor in tensors]
    if all(row is None for row in rows):
        return across
    pairs = zip(tensors, rows, strict=True)
    filled = [_fixed(op, tensor, axis) if row is None else row for tensor, row in pairs]
    return (*across, _cat_rows(filled, axis))


def _covers(op: Op, tensor: Tensor, field: Tensor) -> bool:
    """Whether the tensor has labels of its own along the axes of `field`."""
    return any(axes_of(x) & axes_of(field) for x in op.get(tensor))


def _fixed(op: Op, tensor: Tensor, axis: int) -> Tensor:
    """Fresh labels, pinned, for an axis that cannot shrink."""
    shape = [1] * tensor.ndim
    shape[axis] = tensor.shape[axis]
    labels = op.labels.fresh(tensor.shape[axis]).reshape(shape)
    op.pin(labels, "it is part of a tensor of fixed size")
    return labels


def _cat_rows(rows: list[Tensor], axis: int) -> Tensor:
    """Concatenate fields whose other axes may differ in coverage."""
    widths = [max(row.shape[a] for row in rows) for a in range(rows[0].ndim)]
    expanded = [
        row.expand([row.shape[a] if a == axis else widths[a] for a in range(row.ndim)])
        for row in rows
    ]
    return torch.cat(expanded, axis)


@rule(aten.stack)
def stack(op: Op) -> Fields:
    """All axes meet; the new one carries no labels."""
    axis = int(op.arg(1, "dim", 0)) % op.out.ndim
    return tuple(x.unsqueeze(axis) for x in op.merge(*op.args[0]))


@rule(aten.split, aten.split_with_sizes, aten.unsafe_split, aten.unsafe_split_with_sizes)
@rule(aten.chunk, aten.unsafe_chunk, aten.split_copy)
def split(op: Op) -> list[Fields]:
    """Parts of equal size stay of equal size; other parts keep the labels they got."""
    axis = int(op.arg(2, "dim", 0)) % op.args[0].ndim
    sizes = [part.shape[axis] for part in op.out]
    along, others = find(op.fields(), axis), tuple(x for x in op.fields() if x.shape[axis] == 1)
    if along is None:
        return [others] * len(sizes)
    parts = list(torch.split(along, sizes, axis))
    if len(set(sizes)) == 1 and len(sizes) > 1:
        for part in parts[1:]:
            op.labels.unite(parts[0], part)
    return [(*others, part) for part in parts]


@rule(aten.slice, aten.narrow)
def take_slice(op: Op) -> Fields:
    """A slice of an axis: coupled so that equal parts, and strides, stay equal."""
    axis = int(op.arg(1, "dim", 0)) % op.out.ndim
    along, others = find(op.fields(), axis), tuple(x for x in op.fields() if x.shape[axis] == 1)
    if along is None or op.out.shape[axis] == along.shape[axis]:
        return op.fields()
    labels = along.movedim(axis, -1)
    taken = op.func(along, *op.args[1:], **op.kwargs)
    step = int(op.arg(4, "step", 1)) if op.name == "slice" else 1
    width, part = labels.shape[-1], taken.shape[axis]
    if step > 1 and width % step == 0:
        op.labels.couple(labels.reshape(*labels.shape[:-1], -1, step), labels.ndim)
    elif step == 1 and width % part == 0:
        op.labels.couple(labels.reshape(*labels.shape[:-1], -1, part), labels.ndim - 1)
    return (*others, taken) if part > 1 else others


@rule(aten.select, aten.unbind)
def select(op: Op) -> Fields | list[Fields]:
    """A position that the code names: the axis stays whole, the others pass on."""
    axis = int(op.arg(1, "dim", 0)) % op.args[0].ndim
    kept = []
    for field in op.fields():
        if field.shape[axis] > 1:
            op.pin(field, "the code takes a single position of it")
        else:
            kept.append(field.squeeze(axis))
    return tuple(kept) if isinstance(op.out, Tensor) else [tuple(kept)] * len(op.out)


@rule(aten.constant_pad_nd, aten.pad)
def pad(op: Op) -> Fields:
    """Padded positions are there whatever is removed: fresh labels, pinned."""
    padding, ndim = list(op.args[1]), op.args[0].ndim
    padded = []
    for field in op.fields():
        for index in range(len(padding) // 2):
            axis, before, after = ndim - 1 - index, *padding[2 * index : 2 * index + 2]
            if field.shape[axis] > 1 and (before or after):
                field = _pad_axis(op, field, axis, before, after)
        padded.append(field)
    return tuple(padded)


def _pad_axis(op: Op, field: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Pad, or crop for negative amounts, one labelled axis."""
    width = field.shape[axis]
    start, stop = max(-before, 0), width - max(-after, 0)
    parts = [field.narrow(axis, start, stop - start)]
    for amount, at in ((before, 0), (after, len(parts))):
        if amount > 0:
            shape = list(field.shape)
            shape[axis] = amount
            labels = op.labels.fresh(math.prod(shape)).reshape(shape)
            op.pin(labels, "it is padded with channels of zeros")
            parts.insert(0 if at == 0 else len(parts), labels)
    return torch.cat(parts, axis)


@rule(aten.repeat)
def repeat(op: Op) -> Fields:
    """Copies of a channel go together."""
    times = list(op.args[1])
    lifted = (x.reshape((1,) * (len(times) - x.ndim) + tuple(x.shape)) for x in op.fields())
    return tuple(
        x.repeat([n if x.shape[a] > 1 else 1 for a, n in enumerate(times)]) for x in lifted
    )


@rule(aten.roll)
def roll(op: Op) -> Fields:
    """A channel axis that is rolled by a fixed amount stays whole."""
    dims = {int(d) % op.out.ndim for d in op.arg(2, "dims", ())} or set(range(op.out.ndim))
    kept = []
    for field in op.fields():
        if axes_of(field) & dims:
            op.pin(field, "it is rolled by a fixed amount")
        else:
            kept.append(field)
    return tuple(kept)


@rule(aten.index_select, aten.embedding, aten.index)
def index(op: Op) -> Fields:
    """Positions that an index names stay; the axes that are not indexed pass on."""
    x, indices, indexed = op.args[0], *_indices(op)
    kept = []
    for field in op.fields():
        if axes_of(field) & indexed or not indices:
            op.pin(field, "the code picks positions of it by number")
            continue
        narrow = field.expand(
            [field.shape[a] if a in indexed else n for a, n in enumerate(x.shape)]
        )
        moved = narrow_constant(aten.index(narrow, indices))
        kept += [moved] if axes_of(moved) else []
    return tuple(kept)


def _indices(op: Op) -> tuple[list[Tensor | None], frozenset[int]]:
    """Indices of the same shape that all point at position 0, and the axes they index."""
    x = op.args[0]
    if op.name == "embedding":
        return [_zeros(op.args[1])], frozenset({0})
    if op.name == "index_select":
        axis = int(op.args[1]) % x.ndim
        zeros = _zeros(op.args[2])
        return [*[None] * axis, zeros], frozenset({axis})
    given = list(op.args[1])
    if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in given):
        return [], frozenset()
    zeros_of = [
        i if i is None else torch.zeros_like(i, dtype=torch.int64, device="cpu") for i in given
    ]
    return zeros_of, frozenset(a for a, i in enumerate(given) if i is not None)


def _zeros(index: Tensor) -> Tensor:
    return torch.zeros(index.shape, dtype=torch.int64)
