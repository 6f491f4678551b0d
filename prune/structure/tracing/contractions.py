"""Tag rules of operations that sum over channels: convolutions, matrix products, attention.

The two axes that are summed over are united; the others pass on.
"""

import math
from typing import Any

from torch import Tensor

from .layers import SPATIAL
from .op import Op, aten, rule
from .tags import Fields, axes_of, find, lift, on_axis


def _contract(op: Op, a: Tensor | None, b: Tensor | None) -> None:
    """Sum over an axis: both sides shrink together, or not at all."""
    if a is not None and b is not None:
        op.tags.unite(a.reshape(-1), b.reshape(-1))
    for side in (a, b):
        if side is not None and (a is None or b is None):
            op.pin(side, "it is summed with a side of fixed size")


def only(op: Op, fields: Fields, axis: int) -> tuple[Tensor | None, Fields]:
    """The field of one axis and the others; fields that mix it with other axes are pinned."""
    along = [x for x in fields if axis in axes_of(x)]
    others = tuple(x for x in fields if axis not in axes_of(x))
    if len(along) == 1 and axes_of(along[0]) == {axis}:
        return along[0], others
    for field in along:
        op.pin(field, "its channels are interleaved with others")
    return None, others


@rule(aten.convolution, aten.convolution_overrideable, aten.mkldnn_convolution)
def convolution(op: Op) -> Fields:
    """Read the input axis, write the output axis; groups are coupled at equal positions."""
    x, weight = op.args[0], op.args[1]
    transposed, groups = bool(op.arg(6, "transposed", False)), int(op.arg(8, "groups", 1))
    channels, others = only(op, op.get(x), 1)
    along = tuple(field for field in others if _slides_along(op, field))
    for field in others:
        if not any(field is kept for kept in along):
            op.pin(field, SPATIAL)
        elif weight.shape[-1] > 1:
            op.mix(field)
    rows, columns = find(op.get(weight), 0), find(op.get(weight), 1)
    positions = (x if transposed else op.out).shape
    op.contracted.append((weight, x, op.get(x)))
    runs = ((positions[0], ()), (math.prod(positions[2:]), along))
    op.products.append((*runs, *op.sizes(weight)))
    route = _transposed if transposed else _grouped
    out = route(op, channels, rows, columns, groups)
    if groups == x.shape[1] > 1 and channels is not None:
        op.read_as_stated([groups], 0, channels)
    return (*_with_bias(op, out, op.arg(2, "bias")), *along)


def _slides_along(op: Op, field: Tensor) -> bool:
    """Whether a kernel of one channel runs along channels (ECA): each sees its neighbours.

    Where some of them go, the kernel sees those that are left, as in pruned networks that were
    published (timm's ecaresnet50d_pruned).
    """
    x, weight = op.args[:2]
    plain = x.ndim == 3 and 1 in weight.shape[:2] and axes_of(field) == {2}
    return plain and tuple(x.shape[2:]) == tuple(op.out.shape[2:])


def _grouped(
    op: Op, channels: Tensor | None, rows: Tensor | None, columns: Tensor | None, groups: int
) -> Tensor | None:
    """Tags of the output channels of an ordinary, grouped or depthwise convolution."""
    in_channels = op.args[0].shape[1]
    if groups == in_channels and groups > 1:
        pair = None if rows is None else rows.reshape(groups, -1)
        return _depthwise(op, channels, pair, rows)
    if groups > 1 and channels is not None and rows is not None and "groups" in op.stated(groups):
        op.num_choices, op.couples = 2, True
        if op.choice:
            return _whole_groups(op, channels, rows, columns, groups)
    if channels is not None and groups > 1:
        channels = op.tags.couple(channels.reshape(groups, -1), 0)
    if rows is not None and groups > 1:
        op.tags.couple(rows.reshape(groups, -1), 0)
    _contract(op, channels, columns)
    return rows


def _whole_groups(
    op: Op, channels: Tensor, rows: Tensor, columns: Tensor | None, groups: int
) -> Tensor:
    """A group goes with all of its input and output channels; those that stay are as they were."""
    own = op.tags.couple(channels.reshape(groups, -1), 1)
    op.tags.unite(own, rows.reshape(groups, -1))
    op.tie("groups", own)
    if columns is not None:
        op.pin(columns, "it is the width of a group")
    return rows


def _transposed(
    op: Op, channels: Tensor | None, rows: Tensor | None, columns: Tensor | None, groups: int
) -> Tensor | None:
    """The same for a transposed convolution, whose weight is (I, O / groups, ...)."""
    in_channels, width = op.args[0].shape[1], op.args[1].shape[1]
    if groups == in_channels and groups > 1:
        if columns is not None:
            op.pin(columns, "it is the width of a depthwise group")
        pair = None if rows is None else rows.reshape(groups, 1)
        out = None if rows is None else rows.reshape(-1).repeat_interleave(width)
        return _depthwise(op, channels, pair, out)
    _contract(op, channels, rows)
    if channels is not None and groups > 1:
        op.tags.couple(channels.reshape(groups, -1), 0)
    return None if columns is None else columns.reshape(-1).repeat(groups)


def _depthwise(
    op: Op, channels: Tensor | None, pair: Tensor | None, out: Tensor | None
) -> Tensor | None:
    """One filter for each channel: the input's tags are handed on.

    Those themselves, not the filters', which are united with them: where a block of channels is one
    tag (a head), a view that parts the channels still sees so.
    """
    if channels is not None and pair is not None:
        op.tags.unite(channels.reshape(-1, 1), pair)
        if out is not None and out.numel() == channels.numel():
            return channels.reshape(-1)
    elif channels is not None or pair is not None:
        side = channels if channels is not None else pair
        assert side is not None
        op.pin(side, "it is filtered channel by channel with a side of fixed size")
    return out


def _with_bias(op: Op, out: Tensor | None, bias: Tensor | None) -> Fields:
    """The output field of a convolution, united with its bias."""
    if bias is not None:
        for field in op.get(bias):
            if out is None:
                op.pin(field, "it is added to an output of fixed size")
            else:
                op.tags.unite(field.reshape(-1), out.reshape(-1))
        if out is not None and not op.get(bias):
            op.pin(out, "its bias has a fixed size")
    return () if out is None else (on_axis(out, 1, op.out.ndim),)


@rule(aten.mm, aten.bmm, aten.mv, aten.dot)
def matmul(op: Op) -> Fields:
    """Sum over the last axis of the left side and the last but one of the right."""
    return _product(op, op.args[0], op.args[1])


@rule(aten.addmm, aten.baddbmm, aten.addbmm)
def add_matmul(op: Op) -> Fields:
    """A product with something added to it."""
    product = _product(op, op.args[1], op.args[2])
    return _add(op, op.args[0], product)


def _product(op: Op, a: Tensor, b: Tensor) -> Fields:
    inner_b = max(b.ndim - 2, 0)
    left, rest_a = only(op, op.get(a), a.ndim - 1)
    right, rest_b = only(op, op.get(b), inner_b)
    _contract(op, left, right)
    op.contracted += [(b, a, op.get(a)), (a, b, op.get(b))]
    op.products.append((*op.sizes(a), *(op.sizes(b, b.ndim - 1) if b.ndim > 1 else ())))
    free_a = tuple(x.sum(dim=-1) if b.ndim == 1 else x for x in rest_a)
    lifted = tuple(x.narrow(inner_b, 0, 1) for x in rest_b)
    if a.ndim == 3 and b.ndim == 3:
        return _align(op, (*free_a, *lifted), op.out.shape)
    return (*free_a, *(lift(x, op.out.ndim) for x in lifted))


def _align(op: Op, fields: Fields, shape: Any) -> Fields:
    """Fields of two batched operands over their common batch axis."""
    batch = [x for x in fields if axes_of(x) == {0}]
    others = tuple(x for x in fields if axes_of(x) and axes_of(x) != {0})
    for found in batch[1:]:
        op.tags.unite(batch[0], found)
    if len(batch) == 1:
        op.pin(batch[0], "it meets a batch of fixed size")
    return (*batch[:1], *others)


def _add(op: Op, bias: Tensor, product: Fields) -> Fields:
    """Unite what is added to a product with the product's own fields."""
    ndim = op.out.ndim
    for found in (lift(x, ndim) for x in op.get(bias)):
        partner = next((x for x in product if axes_of(x) & axes_of(found)), None)
        if partner is None:
            op.pin(found, "it is added to an output of fixed size")
        else:
            op.tags.unite(partner, found)
    sizes = (1,) * (ndim - bias.ndim) + tuple(bias.shape)
    own = frozenset[int]().union(*(axes_of(lift(x, ndim)) for x in op.get(bias)))
    for found in product:
        if any(sizes[axis] > 1 and axis not in own for axis in axes_of(found)):
            op.pin(found, "its bias has a fixed size")
    return product


@rule(aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_flash_attention)
@rule(aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_cudnn_attention)
@rule(aten._scaled_dot_product_attention_math)
def attention(op: Op) -> list[Fields]:
    """Heads (axis 1) go together; the width of q and k sets the scale and stays."""
    query, key, value = op.args[:3]
    op.products.append((*op.sizes(query), *op.sizes(key, 2)))
    op.products.append((*op.sizes(query, 0, 1, 2), *op.sizes(value, 2, 3)))
    heads: Fields = ()
    for tensor in (query, key, value):
        for field in op.get(tensor):
            if axes_of(field) == {1}:
                heads = op.join(heads, field)
            elif axes_of(field) != {3} or tensor is not value:
                op.pin(field, "the width of a head sets the scale of attention")
    outputs = 1 if isinstance(op.out, Tensor) else len(op.out)
    widths = tuple(x for x in op.get(value) if axes_of(x) == {3})
    return [(*heads, *widths), *[()] * (outputs - 1)]
