"""Tag rules of operations that compute: pointwise, norms, reductions, pooling.

A norm or a reduction over a tagged axis is recorded as mixing: there, removing a channel is not
the same as silencing it.
"""

from torch import Tensor

from .contractions import only
from .op import Op, aten, newer, rule
from .tags import Fields, axes_of, find, on_axis


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
    """A constant of one value takes any size: fresh tags on every axis, or of a stated size."""
    out: Tensor = op.out
    sizes = [(axis, size) for axis, size in enumerate(out.shape) if size > 1]
    fresh = [on_axis(op.tags.of_constant(size), axis, out.ndim) for axis, size in sizes]
    for (axis, _), tags in zip(sizes, fresh, strict=True):
        op.read_as_stated(out.shape, axis, tags)
    return tuple(fresh)


@rule(aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)
@rule(aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training)
@rule(aten._batch_norm_no_update, aten._batch_norm_with_update)
def batch_norm(op: Op) -> list[Fields]:
    """Scale, shift and running statistics go with their channel; own statistics mix the rest."""
    vectors = [x for x in op.args[1:5] if isinstance(x, Tensor)]
    _vectors(op, vectors, find(op.fields(), 1))
    if any(flag is True for flag in op.args[3:]):
        for field in op.fields():
            if axes_of(field) - {1}:
                op.mix(field)
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
                op.tags.unite(field, channels.reshape(-1))


@rule(aten.native_group_norm)
def group_norm(op: Op) -> list[Fields]:
    """Groups stay of equal size; a group of several channels mixes them."""
    channels, groups = find(op.fields(), 1), int(op.arg(6, "group"))
    vectors = [x for x in op.args[1:3] if isinstance(x, Tensor)]
    _vectors(op, vectors, channels)
    if channels is not None and groups == channels.numel():
        op.read_as_stated([groups], 0, channels)
    if channels is not None and groups < channels.numel():
        op.mix(channels)
        if groups > 1:
            op.tags.couple(channels.reshape(groups, -1), 0)
    return [op.fields()]


@rule(aten.native_layer_norm, *newer("_fused_rms_norm"), aten.rms_norm)
def layer_norm(op: Op) -> list[Fields]:
    """Scale and shift go with the channel; the norm mixes channels."""
    x, normalized = op.args[0], len(op.args[1])
    norm_axes = frozenset(range(x.ndim - normalized, x.ndim))
    merged = op.merge(*(t for t in op.args if isinstance(t, Tensor)))
    for field in merged:
        if axes_of(field) & norm_axes:
            op.mix(field)
        for axis in axes_of(field) & norm_axes if len(axes_of(field)) == 1 else ():
            op.read_as_stated(op.args[1], axis - (x.ndim - normalized), field)
    return [merged]


@rule(
    aten._softmax,
    aten._safe_softmax,
    aten._log_softmax,
    aten.cumsum,
    aten.cumprod,
    aten.logcumsumexp,
)
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
    """Fields of the other axes stay; a tagged axis that is reduced mixes its channels."""
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
    field, others = only(op, op.fields(), axis)
    if field is None:
        return others
    half = field.narrow(axis, 0, field.shape[axis] // 2)
    op.tags.unite(half, field.narrow(axis, field.shape[axis] // 2, field.shape[axis] // 2))
    return (*others, half)
