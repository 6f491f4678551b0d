"""What can be removed from a network: units, the tensors they cut, and who reads them.

A unit is the smallest thing that can be removed: filters (and the channels they feed) that must
go together. In a plain network a unit is one filter; in a residual stage it is the same channel
of every convolution that writes into the stream.

Shapes: U units, C input channels of a reader, F input features of a reader.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..shown import html_table, short_repr
from .caches import Cache

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
AxisKey = tuple[str, int]
"""A tensor of the network (qualified parameter or buffer name) and one of its axes."""


@dataclass(frozen=True)
class Reader:
    """A convolution or linear module that sums over channels which can be removed.

    Attributes:
        layer: module path, for example "features.3".
        unit_C: unit of each input channel, -1 where the channel always stays.
        channel_of_feature_F: channel index of each input feature. For a convolution F = C and this
            is arange(C); for a linear layer after a flatten, the features of one channel are its
            positions, and every channel has the same number of them, F / C.
        kind: "conv" (channels on axis 1), "transposed" (likewise) or "linear" (last axis).
        groups: convolution groups, 1 for a linear layer.
    """

    layer: str
    unit_C: IntArray
    channel_of_feature_F: IntArray
    kind: str = "conv"
    groups: int = 1

    __repr__ = short_repr


@dataclass(frozen=True)
class Group:
    """Units with the same writers and readers: what is called a layer in a plan.

    Attributes:
        name: module path of the first writer in execution order, for example "features.0".
        writers: every convolution or linear layer whose filters are these units, in execution
            order.
        readers: layers that sum over these units (keys of `Structure.readers`), execution order.
        units: (U,) unit ids, in the order of the first writer's filters.
    """

    name: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    units: IntArray

    __repr__ = short_repr


@dataclass(frozen=True)
class Product:
    """Multiply-adds of one operation (a convolution, a matrix product), as a function of widths.

    They are `count` times the number of positions that stay of every factor.

    Attributes:
        layer: whose weight it takes, or else the module that runs it.
        count: multiply-adds for one image and one position of every factor.
        factors: of each size that can shrink, the unit of each position (-1: it stays).
    """

    layer: str
    count: float
    factors: tuple[IntArray, ...]

    __repr__ = short_repr

    def macs(self, stays_U: BoolArray) -> float:
        """Multiply-adds for one image; stays_U: (U + 1,), the last one True, for unit -1."""
        return self.count * math.prod(int(stays_U[units].sum()) for units in self.factors)


@dataclass(frozen=True)
class Structure:
    """The outcome of tracing a network: immutable, and enough for every later stage.

    Attributes:
        axes: for each tensor axis that can shrink, the unit of each position (-1: it stays). An
            integer attribute of a module that states a size (`num_heads`) is listed as axis 0.
        groups: removable units by layer, in execution order. A unit is in exactly one group.
        readers: by module path, in execution order.
        kept_whole: layer -> the reason why some or all of its filters cannot be removed.
        num_filters: layer -> how many filters (output channels) it has, also for whole layers.
        products: every operation that multiplies and adds, in execution order.
        caches: attributes that a run fills, which a smaller network has to make again.
        mixing: modules through which a removed channel changes the others (layer norm, group
            norm over several channels, a mean over channels): masking is not removal there.
    """

    axes: Mapping[AxisKey, IntArray]
    groups: tuple[Group, ...]
    readers: Mapping[str, Reader]
    kept_whole: Mapping[str, str] = field(default_factory=dict)
    num_filters: Mapping[str, int] = field(default_factory=dict)
    products: tuple[Product, ...] = ()
    caches: tuple[Cache, ...] = ()
    mixing: tuple[str, ...] = ()

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        rows = [
            (group.name, len(group.units), ", ".join(group.writers), ", ".join(group.readers))
            for group in self.groups
        ]
        found = html_table("Removable", ("layer", "filters", "written by", "read by"), rows)
        whole = html_table("Kept whole", ("layer", "why"), self.kept_whole.items())
        return found + (whole if self.kept_whole else "")

    def filter_axis(self, group: Group, writer: str) -> AxisKey:
        """The parameter and axis that a writer's filters lie on (1 in a transposed convolution)."""
        is_parameter = any((writer, axis) in self.axes for axis in (0, 1))
        name = writer if is_parameter else f"{writer}.weight".lstrip(".")
        first = self.axes.get((name, 0))
        return (name, 0) if first is not None and np.isin(first, group.units).any() else (name, 1)

    @property
    def num_units(self) -> int:
        """How many units can be removed, over the whole network."""
        return sum(len(group.units) for group in self.groups)


class Removal(Protocol):
    """Anything that states which units go, as a `Plan` does."""

    def removed_units(self, structure: Structure) -> IntArray:
        """Unit ids that go, ascending."""
        ...
