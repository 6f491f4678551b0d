"""From components of tags to units, groups and readers: the `Structure` of a recording."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..units import AxisKey, Group, IntArray, Product, Reader, Structure
from .layers import TracedLayer, kept_whole, layers_of, other_reasons, widths_of
from .recording import Recording
from .tags import Components, axes_of


def structure_of(
    model: nn.Module, recording: Recording, components: Components, num_images: int
) -> Structure:
    """What can be removed, in execution order; pure given the recording."""
    component_of = _component_axes(recording, components)
    layers = layers_of(model, recording)
    unit_of = _number(component_of, components, layers)
    axes = _unit_axes(component_of, unit_of)
    groups, renumbered = _groups(axes, layers, recording)
    axes = {key: renumbered[units] for key, units in axes.items()}
    axes = {key: units for key, units in axes.items() if (units >= 0).any()}
    return Structure(
        axes=axes,
        groups=groups,
        readers=_readers(axes, layers, recording),
        kept_whole={
            **kept_whole(axes, component_of, components, layers),
            **other_reasons(model, recording, components, axes, layers),
        },
        num_filters=widths_of(model, layers),
        products=_products(recording, components, renumbered[unit_of], num_images),
        mixing=_mixing(recording, components, axes),
    )


def columns_of(
    tags: Tensor | None, recording: Recording, components: Components, structure: Structure
) -> tuple[IntArray, str]:
    """Unit of each position that carries these tags, -1 where it stays; and why some stay."""
    if tags is None:
        return np.empty(0, dtype=np.int64), "no layer writes them"
    unit_C = np.full(len(components.pin_C), -1, dtype=np.int64)
    for (name, axis), own in _component_axes(recording, components).items():
        if (name, axis) in structure.axes:
            unit_C[own] = structure.axes[name, axis]
    component_K = components.of(tags)
    unit_K = unit_C[component_K]
    reasons = (components.reason(int(c)) for c in component_K[unit_K < 0][:1])
    return unit_K, next(reasons, None) or ""


def _component_axes(recording: Recording, components: Components) -> dict[AxisKey, IntArray]:
    """Component of each position of each tagged axis of parameters and buffers."""
    return {
        (name, axis): components.of(field)
        for name, fields in recording.tensors.items()
        for field in fields
        for axis in axes_of(field)
    }


def _number(
    component_of: Mapping[AxisKey, IntArray], components: Components, layers: list[TracedLayer]
) -> IntArray:
    """Provisional unit of each component, -1 for those that stay; by first writer, then filter."""
    count = int(components.component_T.max(initial=-1)) + 1
    unit_of = np.full(count, -1, dtype=np.int64)
    written = [
        component_of.get((x.weight, x.out_axis), np.empty(0, dtype=np.int64)) for x in layers
    ]
    ordered = np.concatenate([*written, np.empty(0, dtype=np.int64)])
    place = np.arange(len(ordered))
    first_C = np.full(count, -1, dtype=np.int64)
    first_C[ordered[::-1]] = place[::-1]  # the last assignment, the first place
    free = ordered[(first_C[ordered] == place) & (components.pin_C[ordered] < 0)]
    unit_of[free] = np.arange(len(free))
    return unit_of


def _unit_axes(
    component_of: Mapping[AxisKey, IntArray], unit_of: IntArray
) -> dict[AxisKey, IntArray]:
    """Axes that hold at least one unit."""
    found = {key: unit_of[components] for key, components in component_of.items()}
    return {key: units for key, units in found.items() if (units >= 0).any()}


def _groups(
    axes: Mapping[AxisKey, IntArray], layers: list[TracedLayer], recording: Recording
) -> tuple[tuple[Group, ...], IntArray]:
    """Units that appear equally often in the same axes, and the final number of each unit."""
    num_units = 1 + max((int(units.max()) for units in axes.values()), default=-1)
    table = _appearances(axes, num_units)
    members = _alike(table)
    keys = list(axes)
    renumbered = np.full(num_units + 1, -1, dtype=np.int64)
    groups: list[Group] = []
    num_named: Counter[str] = Counter()
    taken = 0
    for units in (x for x in members if len(x) > 1):
        renumbered[units] = np.arange(taken, taken + len(units))
        first = slice(table.indptr[units[0]], table.indptr[units[0] + 1])
        holds = {keys[column] for column in table.indices[first]}
        writers, readers = _around(holds, layers, recording)
        num_named[writers[0]] += 1
        repeat = num_named[writers[0]]
        name = writers[0] if repeat == 1 else f"{writers[0]}#{repeat}"
        groups.append(Group(name, writers, readers, renumbered[units]))
        taken += len(units)
    return tuple(groups), renumbered


def _alike(table: csr_array) -> list[IntArray]:
    """Rows that are equal, by first row; runs of equal rows are compared at once."""
    length = np.diff(table.indptr)
    row = np.repeat(np.arange(len(length)), length)
    before = np.maximum(np.arange(len(row)) - length[row], 0)
    differs = (table.indices != table.indices[before]) | (table.data != table.data[before])
    same = np.bincount(row[differs], minlength=len(length)) == 0
    same[:1] = False
    same[1:] &= length[1:] == length[:-1]
    starts = np.flatnonzero(~same)
    runs: dict[bytes, list[IntArray]] = {}
    for start, stop in pairwise([*starts, len(length)]):
        span = slice(table.indptr[start], table.indptr[start + 1])
        signature = table.indices[span].tobytes() + table.data[span].tobytes()
        runs.setdefault(signature, []).append(np.arange(start, stop))
    return [np.concatenate(found) for found in runs.values()]


def _appearances(axes: Mapping[AxisKey, IntArray], num_units: int) -> csr_array:
    """How often each unit (row) is in each axis (column), columns ascending."""
    movable = [units[units >= 0] for units in axes.values()]
    row = np.concatenate([*movable, np.empty(0, dtype=np.int64)])
    column = np.repeat(np.arange(len(axes)), [len(units) for units in movable])
    ones = np.ones(len(row), dtype=np.int64)
    table = csr_array((ones, (row, column)), shape=(num_units, len(axes)))
    table.sum_duplicates()
    return table


def _around(
    holds: set[AxisKey], layers: list[TracedLayer], recording: Recording
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Writers and readers of units that are in these axes."""
    writers = tuple(x.name for x in layers if (x.weight, x.out_axis) in holds)
    readers = tuple(
        x.name for x in layers if (x.weight, x.in_axis) in holds and x.name in recording.modules
    )
    return writers, readers


def _readers(
    axes: Mapping[AxisKey, IntArray], layers: list[TracedLayer], recording: Recording
) -> dict[str, Reader]:
    """Modules that sum over removable channels and whose forward ran."""
    found: dict[str, Reader] = {}
    features = recording.features
    for layer in layers:
        units = axes.get((layer.weight, layer.in_axis))
        if units is not None and layer.name in recording.modules:
            found[layer.name] = _reader(layer, units, features.get(layer.name))
    return found


def _reader(layer: TracedLayer, units: IntArray, features: Tensor | None) -> Reader:
    module = layer.module
    if isinstance(module, _ConvNd):
        times = 1 if module.transposed else module.groups
        unit_C = np.tile(units, times)
        kind = "transposed" if module.transposed else "conv"
        return Reader(layer.name, unit_C, np.arange(len(unit_C)), kind, module.groups)
    channel_F = _channel_of_feature(features, len(units))
    first = np.unique(channel_F, return_index=True)[1]
    return Reader(layer.name, units[first], channel_F, "linear", 1)


def _channel_of_feature(tags: Tensor | None, num_features: int) -> IntArray:
    """Channel of each input feature, by the tags it came with; each its own if they differ."""
    if tags is None or tags.numel() != num_features:
        return np.arange(num_features, dtype=np.int64)
    _, first, channel, counts = np.unique(
        tags.numpy(), return_index=True, return_inverse=True, return_counts=True
    )
    if len(set(counts.tolist())) > 1:
        return np.arange(num_features, dtype=np.int64)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    by_appearance: IntArray = rank[channel]
    return by_appearance


def _products(
    recording: Recording, components: Components, unit_C: IntArray, num_images: int
) -> tuple[Product, ...]:
    """What every operation multiplies, for one image; sizes that cannot shrink are in the count.

    Where several fields run along one axis (heads, and the width inside them), what stays of it is
    the product of the shares that stay of each.
    """
    units_of: dict[int, IntArray] = {}
    found = []
    for record in recording.records[: recording.num_counted]:
        for sizes in record.products:
            count, factors = 1 / num_images, []
            for size, fields in sizes:
                count *= size
                for tags in fields:
                    units = units_of.setdefault(id(tags), unit_C[components.of(tags)])
                    if (units >= 0).any():
                        count /= size
                        factors.append(units)
            found.append(Product(record.layer, count, tuple(factors)))
    return tuple(found)


def _mixing(
    recording: Recording, components: Components, axes: Mapping[AxisKey, IntArray]
) -> tuple[str, ...]:
    """Places that mix channels of which some can be removed."""
    live = np.zeros(int(components.component_T.max(initial=-1)) + 1, dtype=np.bool_)
    for name, fields in recording.tensors.items():
        for tags in fields:
            for axis in axes_of(tags):
                if (name, axis) in axes:
                    live[components.of(tags)[axes[name, axis] >= 0]] = True
    places = (p for p, tags in recording.mixing if live[components.of(tags)].any())
    return tuple(dict.fromkeys(places))
