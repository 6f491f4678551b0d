"""Tag rules of operations that join, part or pick positions: executed on the tags themselves.

Where an index is written into the code, the axis stays whole.
"""

import math

import torch
from torch import Tensor

from .op import Op, aten, rule
from .tags import Fields, axes_of, find, narrow_constant


@rule(aten.cat, aten.concat)
def cat(op: Op) -> Fields:
    """Tags in a row along the axis; the other axes meet."""
    tensors: list[Tensor] = [x for x in op.args[0] if x.shape != (0,)]
    axis = int(op.arg(1, "dim", 0)) % op.out.ndim
    across: Fields = ()
    for field in (x for t in tensors for x in op.get(t) if axis not in axes_of(x)):
        across = op.join(across, field)
    loose = tuple(x for x in across if not all(_covers(op, tensor, x) for tensor in tensors))
    for found in loose:
        op.pin(found, "it is concatenated with a tensor of fixed size")
    across = tuple(x for x in across if not any(x is found for found in loose))
    rows = [find(op.get(tensor), axis) for tensor in tensors]
    if all(row is None for row in rows):
        return across
    pairs = zip(tensors, rows, strict=True)
    filled = [_fixed(op, tensor, axis) if row is None else row for tensor, row in pairs]
    return (*across, _cat_rows(filled, axis))


def _covers(op: Op, tensor: Tensor, field: Tensor) -> bool:
    """Whether the tensor has tags of its own along the axes of `field`."""
    return any(axes_of(x) & axes_of(field) for x in op.get(tensor))


def _fixed(op: Op, tensor: Tensor, axis: int) -> Tensor:
    """Fresh tags, pinned, for an axis that cannot shrink."""
    shape = [1] * tensor.ndim
    shape[axis] = tensor.shape[axis]
    tags = op.tags.fresh(tensor.shape[axis]).reshape(shape)
    op.pin(tags, "it is part of a tensor of fixed size")
    return tags


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
    """All axes meet; the new one carries no tags."""
    axis = int(op.arg(1, "dim", 0)) % op.out.ndim
    return tuple(x.unsqueeze(axis) for x in op.merge(*op.args[0]))


@rule(aten.split, aten.split_with_sizes, aten.unsafe_split, aten.unsafe_split_with_sizes)
@rule(aten.chunk, aten.unsafe_chunk, aten.split_copy)
def split(op: Op) -> list[Fields]:
    """Parts of equal size stay of equal size; other parts keep the tags they got.

    Other readings: sizes in a list, each from an attribute, shrink each on its own.
    """
    axis = int(op.arg(2, "dim", 0)) % op.args[0].ndim
    sizes = [part.shape[axis] for part in op.out]
    along, others = find(op.fields(), axis), tuple(x for x in op.fields() if x.shape[axis] == 1)
    if along is None:
        return [others] * len(sizes)
    parts = list(torch.split(along, sizes, axis))
    listed = isinstance(op.args[1], list | tuple)
    op.couples = listed and len(set(sizes)) == 1
    if len(set(sizes)) == 1 and len(sizes) > 1 and not (listed and op.choice):
        for part in parts[1:]:
            op.tags.unite(parts[0], part)
    if axes_of(along) == {axis}:
        _follow_parts(op, parts if listed else parts[:1], along)
    return [(*others, part) for part in parts]


def _follow_parts(op: Op, parts: list[Tensor], along: Tensor) -> None:
    """The sizes of parts, or of the whole that one of them may be the rest of, are stated."""
    sizes = [part.numel() for part in parts]
    op.read_all_as_stated(sizes, parts)
    stated = [any(x.value == n for x in op.candidates(sizes, i)) for i, n in enumerate(sizes)]
    if not all(stated):
        op.read_whole_as_stated(along)


@rule(aten.slice, aten.narrow)
def take_slice(op: Op) -> Fields:
    """A slice of an axis: coupled so that equal parts, and strides, stay equal.

    Other readings: where it starts and ends is stated, and each side shrinks on its own.
    """
    axis = int(op.arg(1, "dim", 0)) % op.out.ndim
    along, others = find(op.fields(), axis), tuple(x for x in op.fields() if x.shape[axis] == 1)
    if along is None or op.out.shape[axis] == along.shape[axis]:
        return op.fields()
    tags = along.movedim(axis, -1)
    taken = op.func(along, *op.args[1:], **op.kwargs)
    step = int(op.arg(4, "step", 1)) if op.name == "slice" else 1
    width, part = tags.shape[-1], taken.shape[axis]
    if step > 1 and width % step == 0:
        op.tags.couple(tags.reshape(*tags.shape[:-1], -1, step), tags.ndim)
    elif step == 1 and width % part == 0 and not op.choice:
        op.couples = True
        op.tags.couple(tags.reshape(*tags.shape[:-1], -1, part), tags.ndim - 1)
    if step == 1 and axes_of(along) == {axis}:
        _follow_ends(op, tags.reshape(-1))
    return (*others, taken) if part > 1 else others


def _follow_ends(op: Op, row: Tensor) -> None:
    """Start and end of a slice, counted from the front or from the back, are stated."""
    width, start, end = row.numel(), op.arg(2, "start") or 0, op.arg(3, "end")
    if op.name == "narrow":
        end = start + end
    for place in (start, width if end is None else end):
        counted = row[:place] if place >= 0 else row[place:]
        if 0 < counted.numel() < width:
            op.read_as_stated([counted.numel()], 0, counted)
    op.read_whole_as_stated(row)


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
    """Padded positions are there whatever is removed: fresh tags, pinned."""
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
    """Pad, or crop for negative amounts, one tagged axis."""
    width = field.shape[axis]
    start, stop = max(-before, 0), width - max(-after, 0)
    parts = [field.narrow(axis, start, stop - start)]
    for amount, at in ((before, 0), (after, len(parts))):
        if amount > 0:
            shape = list(field.shape)
            shape[axis] = amount
            tags = op.tags.fresh(math.prod(shape)).reshape(shape)
            op.pin(tags, "it is padded with channels of zeros")
            parts.insert(0 if at == 0 else len(parts), tags)
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
