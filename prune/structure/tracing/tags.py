"""Channel tags: which positions of which tensors must stay or go together.

A tag is an integer; tags that meet are united, and the connected components of all unions are
the candidates for removal. A field is an int64 tensor of tags that broadcasts to the tensor it
describes, with size 1 on every axis that it does not cover: the output of a convolution
carries one field of shape (1, C, 1, 1), its weight two, (O, 1, 1, 1) and (1, I, 1, 1). An element
disappears when one of its tags is removed. An axis that no field covers stays as it is.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..units import IntArray

Fields = tuple[Tensor, ...]
NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Components:
    """Tags after all unions.

    Attributes:
        component_T: component of each tag.
        pin_C: of each component, the first of `reasons` why it must stay; -1 where it may go.
    """

    component_T: IntArray
    pin_C: IntArray
    reasons: tuple[str, ...]

    def of(self, tags: Tensor) -> IntArray:
        """Component of each tag, flattened."""
        component: IntArray = self.component_T[flat(tags)]
        return component

    def reason(self, component: int) -> str | None:
        """Why a component must stay, None where it may go."""
        pin = int(self.pin_C[component])
        return None if pin < 0 else self.reasons[pin]


class Tags:
    """A growing set of tags, with unions and pins; `solve` turns them into components.

    Unions and pins are kept by operation, so that one operation can be read again without the
    others: `restart` drops what it united and pinned before.
    """

    def __init__(self) -> None:
        self._size = 0
        self._unions: dict[int, list[tuple[IntArray, IntArray]]] = {}
        self._pins: dict[int, list[tuple[Tensor, str]]] = {}
        self._component_T: IntArray | None = None
        self._copies: list[tuple[int, int]] = []
        self._constants: list[tuple[int, int]] = []
        self.restart(0)

    def restart(self, operation: int) -> None:
        """Keep what follows under this operation, instead of what it united and pinned before."""
        if self._unions.get(operation):
            self._component_T = None
        self._unions[operation], self._pins[operation] = [], []
        self.resume(operation)

    def resume(self, operation: int) -> None:
        """Keep what follows under this operation, beside what it united and pinned before."""
        self._united, self._pinned = self._unions[operation], self._pins[operation]

    def fresh(self, count: int) -> Tensor:
        """`count` tags that nothing else carries."""
        self._size += count
        self._component_T = None
        return torch.arange(self._size - count, self._size)

    def of_copies(self, count: int) -> Tensor:
        """Tags of an axis along which everything is a copy, so that it takes any size."""
        self._copies.append((self._size, self._size + count))
        return self.fresh(count)

    def are_of_copies(self, tags: Tensor) -> bool:
        """Whether tags were made for copies."""
        return self._is_in(tags, self._copies)

    def of_constant(self, count: int) -> Tensor:
        """Tags of an axis of a constant of one value: no layer wrote it."""
        self._constants.append((self._size, self._size + count))
        return self.fresh(count)

    def are_of_constant(self, tags: Tensor) -> bool:
        """Whether tags were made for a constant."""
        return self._is_in(tags, self._constants)

    def _is_in(self, tags: Tensor, ranges: list[tuple[int, int]]) -> bool:
        """Whether the first of the tags is in one of these ranges, which ascend."""
        first = int(tags.reshape(-1)[0])
        index = bisect_right(ranges, (first, self._size + 1)) - 1
        return index >= 0 and first < ranges[index][1]

    def unite(self, a: Tensor, b: Tensor) -> None:
        """From now on the tags of `a` and `b`, broadcast against each other, are the same."""
        if a is not b:
            if a.shape != b.shape:
                a, b = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]
            self._united.append((flat(a), flat(b)))
            self._component_T = None

    def couple(self, tags: Tensor, axis: int) -> Tensor:
        """Unite tags along one axis; what is left has size 1 there."""
        first = tags.narrow(axis, 0, 1)
        self.unite(tags, first)
        return first

    def pin(self, tags: Tensor, reason: str) -> None:
        """Nothing that carries these tags can be removed."""
        self._pinned.append((tags, reason))

    def solve(self) -> Components:
        """Connected components of all unions so far; the first pin gives the reason."""
        if self._component_T is None:
            self._component_T = self._connected()
        pins = [pin for pinned in self._pins.values() for pin in pinned]
        pin_C = np.full(int(self._component_T.max(initial=-1)) + 1, -1, dtype=np.int64)
        tags = np.concatenate([*(flat(x) for x, _ in pins), NONE])
        order = np.repeat(np.arange(len(pins)), [x.numel() for x, _ in pins])
        pin_C[self._component_T[tags[::-1]]] = order[::-1]  # the last assignment, the first pin
        return Components(self._component_T, pin_C, tuple(reason for _, reason in pins))

    def _connected(self) -> IntArray:
        """Component of each tag."""
        unions = [union for united in self._unions.values() for union in united]
        left = np.concatenate([*(a for a, _ in unions), NONE])
        right = np.concatenate([*(b for _, b in unions), NONE])
        ones = np.ones(len(left), dtype=np.int8)
        graph = coo_array((ones, (left, right)), shape=(self._size, self._size))
        component_T: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
        return component_T


def flat(tags: Tensor) -> IntArray:
    """The tags of a field in a row."""
    row: IntArray = tags.reshape(-1).numpy()
    return row


def same_fields(a: Fields, b: Fields) -> bool:
    """Whether fields carry the same tags."""
    return a is b or (
        len(a) == len(b) and all(x is y or torch.equal(x, y) for x, y in zip(a, b, strict=True))
    )


def axes_of(field: Tensor) -> frozenset[int]:
    """Axes along which a field has more than one tag."""
    return frozenset(axis for axis, size in enumerate(field.shape) if size > 1)


def narrow_expanded(field: Tensor) -> Tensor:
    """Back to size 1 on every axis that is only expanded (stride 0)."""
    for axis, (size, stride) in enumerate(zip(field.shape, field.stride(), strict=True)):
        if size > 1 and stride == 0:
            field = field.narrow(axis, 0, 1)
    return field


def narrow_constant(field: Tensor) -> Tensor:
    """Back to size 1 on every axis along which the tags do not change."""
    for axis in axes_of(field):
        first = field.narrow(axis, 0, 1)
        if bool((field == first).all()):
            field = first
    return field


def find(fields: Fields, axis: int) -> Tensor | None:
    """The field that covers an axis, None when the axis is untagged."""
    return next((field for field in fields if field.shape[axis] > 1), None)


def lift(field: Tensor, ndim: int) -> Tensor:
    """The field with leading axes of size 1, as broadcasting sees it."""
    return field.reshape((1,) * (ndim - field.ndim) + tuple(field.shape))


def on_axis(tags: Tensor, axis: int, ndim: int) -> Tensor:
    """A field that carries `tags` along one axis."""
    shape = [1] * ndim
    shape[axis] = -1
    return tags.reshape(shape)


def blocks(source: Sequence[int], target: Sequence[int]) -> list[tuple[range, range]]:
    """How a view regroups axes: runs of source and target axes with equal products."""
    found: list[tuple[range, range]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        start, i_end, j_end = (i, j), i + 1, j + 1
        a = source[i] if i < len(source) else 1
        b = target[j] if j < len(target) else 1
        while a != b:
            if a < b:
                a, i_end = a * source[i_end], i_end + 1
            else:
                b, j_end = b * target[j_end], j_end + 1
        i, j = min(i_end, len(source)), min(j_end, len(target))
        found.append((range(start[0], i), range(start[1], j)))
    return found
