"""Label rules of operations that compute: contractions, norms, reductions, pointwise.

Contractions unite the two axes they sum over and pass the others on. A norm or a reduction over a
labelled axis is recorded as mixing: there, removing a channel is not the same as silencing it.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .labels import Fields, axes_of, find, lift, on_axis
from .op import Op, rule

aten = torch.ops.aten


@rule(aten._prelu_kernel, aten.copy_, aten._to_copy, aten.clone, aten.dropout, aten.fill_)
@rule(aten.zero_, aten.hardswish, aten.hardsigmoid, aten.hardtanh, aten.leaky_relu, aten.elu)
@rule(aten.silu, aten.mish, aten.gelu, aten.celu, aten.selu, aten.threshold, aten.softplus)
@rule(aten.relu6, aten.softshrink, aten.hardshrink, aten.where, aten.rrelu_with_noise)
@rule(aten.clamp, aten.clamp_min, aten.clamp_max, aten.addcmul, aten.addcdiv, aten.lerp)
@rule(aten.log_sigmoid_forward, aten.contiguous)
@rule(aten.zeros_like, aten.ones_like, aten.empty_like, aten.full_like, aten.rand_like)
@rule(aten.native_dropout, aten.bernoulli_, aten.bernoulli, aten.masked_fill, aten.lift_fresh)
def pointwise(op: Op) -> Fields:
    """Unite what meets under broadcasting."""
    tensors = [x for x in op.args if isinstance(x, Tensor)]
    tensors += [x for x in op.kwargs.values() if isinstance(x, Tensor)]
    return op.merge(*tensors)


@rule(aten.zeros, aten.ones, aten.full, aten.empty, aten.new_zeros, aten.new_ones, aten.new_full)
@rule(aten.new_empty, aten.scalar_tensor, aten.empty_strided, aten.new_empty_strided)
def filled(op: Op) -> Fields:
    """A constant of one value takes any size: fresh labels on every axis."""
    out: Tensor = op.out
    sizes = [(axis, size) for axis, size in enumerate(out.shape) if size > 1]
    return tuple(on_axis(op.labels.fresh(size), axis, out.ndim) for axis, size in sizes)


def _contract(op: Op, a: Tensor | None, b: Tensor | None) -> None:
    """Sum over an axis: both sides shrink together, or not at all."""
    if a is not None and b is not None:
        op.labels.unite(a.reshape(-1), b.reshape(-1))
    for side in (a, b):
        if side is not None and (a is None or b is None):
            op.pin(side, "it is summed with a side of fixed size")


def _only(op: Op, fields: Fields, axis: int) -> tuple[Tensor | None, Fields]:
    """The field of one axis and the others; fields that mix it with other axes are pinned."""
    own = find(fields, axis)
    if own is not None and axes_of(own) != {axis}:
        op.pin(own, "its channels are interleaved with another axis")
        return None, tuple(x for x in fields if x is not own)
    return own, tuple(x for x in fields if x is not own)


@rule(aten.convolution, aten.convolution_overrideable, aten.mkldnn_convolution)
def convolution(op: Op) -> Fields:
    """Read the input axis, write the output axis; groups are coupled at equal positions."""
    x, weight = op.args[0], op.args[1]
    transposed, groups = bool(op.arg(6, "transposed", False)), int(op.arg(8, "groups", 1))
    channels, others = _only(op, op.get(x), 1)
    for field in others:
        op.pin(field, "it is a spatial axis of a convolution")
    rows, columns = find(op.get(weight), 0), find(op.get(weight), 1)
    positions = (x if transposed else op.out).shape
    op.contracted.append((weight, x, op.get(x), math.prod(positions[2:]) * positions[0]))
    route = _transposed if transposed else _grouped
    out = route(op, channels, rows, columns, groups)
    return _with_bias(op, out, op.arg(2, "bias"))


def _grouped(
    op: Op, channels: Tensor | None, rows: Tensor | None, columns: Tensor | None, groups: int
) -> Tensor | None:
    """Labels of the output channels of an ordinary, grouped or depthwise convolution."""
    in_channels = op.args[0].shape[1]
    if groups == in_channels and groups > 1:
        pair = None if rows is None else rows.reshape(groups, -1)
        return _depthwise(op, channels, pair, rows)
    if channels is not None and groups > 1:
        channels = op.labels.couple(channels.reshape(groups, -1), 0)
    if rows is not None and groups > 1:
        op.labels.couple(rows.reshape(groups, -1), 0)
    _contract(op, channels, columns)
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
        op.labels.couple(channels.reshape(groups, -1), 0)
    return None if columns is None else columns.reshape(-1).repeat(groups)


def _depthwise(
    op: Op, channels: Tensor | None, pair: Tensor | None, out: Tensor | None
) -> Tensor | None:
    """One filter for each channel: the input's labels are handed on."""
    if channels is not None and pair is not None:
        op.labels.unite(channels.reshape(-1, 1), pair)
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
                op.labels.unite(field.reshape(-1), out.reshape(-1))
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
    left, rest_a = _only(op, op.get(a), a.ndim - 1)
    right, rest_b = _only(op, op.get(b), inner_b)
    _contract(op, left, right)
    op.contracted.append((b, a, op.get(a), a.shape[-2] if a.ndim > 1 else 1))
    op.contracted.append((a, b, op.get(b), b.shape[-1] if b.ndim > 1 else 1))
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
        op.labels.unite(batch[0], found)
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
            op.labels.unite(partner, found)
    sizes = (1,) * (ndim - bias.ndim) + tuple(bias.shape)
    own = frozenset[int]().union(*(axes_of(lift(x, ndim)) for x in op.get(bias)))
    for found in product:
        if any(sizes[axis] > 1 and axis not in own for axis in axes_of(found)):
            op.pin(found, "its bias has a fixed size")
    return product


@rule(aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)
@rule(aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training)
@rule(aten._batch_norm_no_update, aten._batch_norm_with_update)
def batch_norm(op: Op) -> list[Fields]:
    """Scale, shift and running statistics go with their channel."""
    vectors = [x for x in op.args[1:5] if isinstance(x, Tensor)]
    _vectors(op, vectors, find(op.fields(), 1))
    return [op.fields()]


def _vectors(op: Op, vectors: list[Tensor], channels: Tensor | None) -> None:
    """Unite vectors over channels with the channel axis."""
    for vector in vectors:
        if channels is not None and not op.get(vector):
            op.pin(channels, "its norm has a fixed size")
        for field in op.get(vector):
            if channels is None:
                op.pin(field, "it scales channels that cannot go")
            else:
                op.labels.unite(field, channels.reshape(-1))


@rule(aten.native_group_norm)
def group_norm(op: Op) -> list[Fields]:
    """Groups stay of equal size; a group of several channels mixes them."""
    channels, groups = find(op.fields(), 1), int(op.arg(6, "group"))
    vectors = [x for x in op.args[1:3] if isinstance(x, Tensor)]
    _vectors(op, vectors, channels)
    if channels is not None and groups < channels.numel():
        op.mix(channels)
        if groups > 1:
            op.labels.couple(channels.reshape(groups, -1), 0)
    return [op.fields()]


@rule(aten.native_layer_norm, aten._fused_rms_norm, aten.rms_norm)
def layer_norm(op: Op) -> list[Fields]:
    """Scale and shift go with the channel; the norm mixes channels."""
    x, normalized = op.args[0], len(op.args[1])
    norm_axes = frozenset(range(x.ndim - normalized, x.ndim))
    merged = op.merge(*(t for t in op.args if isinstance(t, Tensor)))
    for field in merged:
        if axes_of(field) & norm_axes:
            op.mix(field)
    return [merged]


@rule(aten._softmax, aten._log_softmax, aten.cumsum, aten.cumprod, aten.logcumsumexp)
def along_axis(op: Op) -> Fields:
    """Channels of one axis change each other."""
    axis = int(op.args[1]) % max(op.out.ndim, 1)
    along = find(op.fields(), axis)
    if along is not None:
        op.mix(along)
    return op.fields()


@rule(aten.sum, aten.mean, aten.amax, aten.amin, aten.var, aten.std, aten.var_mean, aten.std_mean)
@rule(aten.prod, aten.any, aten.all, aten.argmax, aten.argmin, aten.max, aten.min)
@rule(aten.linalg_vector_norm, aten.norm, aten.logsumexp, aten.nansum)
def reduction(op: Op) -> Fields | list[Fields]:
    """Fields of the other axes stay; a labelled axis that is reduced mixes its channels."""
    x: Tensor = op.args[0]
    if len(op.args) > 1 and isinstance(op.args[1], Tensor):
        return pointwise(op)
    first = op.out if isinstance(op.out, Tensor) else op.out[0]
    axes, kept = _reduced_axes(op), []
    for field in op.get(x):
        if not axes_of(field) & axes:
            kept.append(_drop(field, axes, first.ndim == x.ndim))
            continue
        op.mix(field)
        if not axes_of(field) <= axes:
            op.pin(field, "a reduction covers a part of its axes")
    return tuple(kept) if isinstance(op.out, Tensor) else [tuple(kept)] * len(op.out)


def _reduced_axes(op: Op) -> frozenset[int]:
    """Axes a reduction runs over."""
    ndim = op.args[0].ndim
    position = 2 if op.name in ("linalg_vector_norm", "norm") else 1
    dims = op.arg(position, "dim")
    if dims is None or isinstance(dims, bool) or dims == []:
        return frozenset(range(ndim))
    return frozenset(d % ndim for d in ([dims] if isinstance(dims, int) else dims))


def _drop(field: Tensor, axes: frozenset[int], keepdim: bool) -> Tensor:
    """A field after axes that it does not cover were reduced."""
    if keepdim:
        return field
    return field.reshape([n for axis, n in enumerate(field.shape) if axis not in axes])


@rule(aten.avg_pool2d, aten.max_pool2d_with_indices, aten.max_pool2d, aten._adaptive_avg_pool2d)
@rule(aten.adaptive_avg_pool2d, aten.adaptive_max_pool2d, aten.reflection_pad2d)
@rule(aten.replication_pad2d, aten.upsample_nearest2d, aten.upsample_bilinear2d)
@rule(aten.upsample_bicubic2d, aten._upsample_nearest_exact2d, aten._upsample_bilinear2d_aa)
@rule(aten._upsample_bicubic2d_aa, aten.fractional_max_pool2d, aten.mkldnn_max_pool2d)
def spatial_2d(op: Op) -> list[Fields]:
    """Pooling and resizing of the last two axes."""
    return _spatial(op, 2)


@rule(aten.avg_pool1d, aten.adaptive_avg_pool1d, aten.upsample_nearest1d, aten.upsample_linear1d)
@rule(aten.reflection_pad1d, aten.replication_pad1d, aten._upsample_nearest_exact1d)
def spatial_1d(op: Op) -> list[Fields]:
    """Pooling and resizing of the last axis."""
    return _spatial(op, 1)


@rule(aten.avg_pool3d, aten.max_pool3d_with_indices, aten._adaptive_avg_pool3d)
@rule(aten.upsample_nearest3d, aten.upsample_trilinear3d, aten.adaptive_max_pool3d)
@rule(aten.reflection_pad3d, aten.replication_pad3d)
def spatial_3d(op: Op) -> list[Fields]:
    """Pooling and resizing of the last three axes."""
    return _spatial(op, 3)


def _spatial(op: Op, count: int) -> list[Fields]:
    """Fields of the leading axes stay."""
    spatial = frozenset(range(op.args[0].ndim - count, op.args[0].ndim))
    kept = []
    for field in op.fields():
        if axes_of(field) & spatial:
            op.pin(field, "it is pooled or resized along this axis")
        else:
            kept.append(field)
    outputs = 1 if isinstance(op.out, Tensor) else len(op.out)
    return [tuple(kept)] * outputs


@rule(aten.glu)
def glu(op: Op) -> Fields:
    """One half gates the other: both halves go together."""
    axis = int(op.arg(1, "dim", -1)) % op.out.ndim
    field, others = _only(op, op.fields(), axis)
    if field is None:
        return others
    half = field.narrow(axis, 0, field.shape[axis] // 2)
    op.labels.unite(half, field.narrow(axis, field.shape[axis] // 2, field.shape[axis] // 2))
    return (*others, half)


@rule(aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_flash_attention)
@rule(aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_cudnn_attention)
@rule(aten._scaled_dot_product_attention_math)
def attention(op: Op) -> list[Fields]:
    """Heads (axis 1) go together; the width of q and k sets the scale and stays."""
    query, key, value = op.args[:3]
    heads: Fields = ()
    for tensor in (query, key, value):
        for field in op.get(tensor):
            if axes_of(field) == {1}:
                heads = op._join(heads, field)
            elif axes_of(field) != {3} or tensor is not value:
                op.pin(field, "the width of a head sets the scale of attention")
    outputs = 1 if isinstance(op.out, Tensor) else len(op.out)
    widths = tuple(x for x in op.get(value) if axes_of(x) == {3})
    return [(*heads, *widths), *[()] * (outputs - 1)]
