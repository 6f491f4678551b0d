"""The trial of a smaller network: does every operation get the shape that the tags predict?"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..units import IntArray, Structure
from . import meta
from .op import tensors_in
from .recording import Record, Recording
from .tags import Components, Fields, axes_of

Shape = tuple[int, ...]

FIRST_SHARE, SHARE_STEP, NUM_SHARES = 0.25, 0.02, 11
"""Shares of its units that a trial takes from the groups: 0.25, 0.27, ..., 0.45, and again 0.25.

Unequal, so that layers of equal width end at unequal ones and a mix-up of two of them shows. Eleven
is a prime, so that a network that repeats its blocks gets other shares in each of them.
"""


@dataclass(frozen=True)
class Thinned:
    """A removal of about a third of every group, at random, never all of it.

    `turned`: groups that gave little give much, so that sizes which fit by chance (3 of 4 heads
    beside 18 of 24 channels) do not fit again.
    """

    seed: int = 0
    turned: bool = False

    def removed_units(self, structure: Structure) -> IntArray:
        """Unit ids that go, ascending."""
        rng = np.random.default_rng(self.seed)
        gone = [np.empty(0, dtype=np.int64)]
        for index, group in enumerate(structure.groups):
            turn = index % NUM_SHARES
            step = NUM_SHARES - 1 - turn if self.turned else turn
            share = FIRST_SHARE + SHARE_STEP * step
            count = max(1, round(len(group.units) * share))
            gone.append(rng.permutation(group.units)[:count])
        return np.sort(np.concatenate(gone))


class Seen(NamedTuple):
    """An operation of a trial: its name, the shapes of its results, numbers it was given."""

    name: str
    shapes: tuple[Shape, ...]
    numbers: tuple[float, ...]
    integers: tuple[int, ...]


class Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down the name, the result shapes and the numbers of every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[Seen] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, then note it: an operation that fails is not noted."""
        out = meta.run_operation(func, args, kwargs or {})
        results = tensors_in((out,))
        shapes = tuple(tuple(x.shape) for x in results)
        name = str(func.overloadpacket.__name__)
        self.seen.append(Seen(name, shapes, meta.numbers(args, out), meta.integers(func, args)))
        return out


class Forecast:
    """Which tags a removal takes, which could go at all, and the shapes that follow."""

    def __init__(
        self, recording: Recording, components: Components, structure: Structure, gone: IntArray
    ) -> None:
        count = int(components.component_T.max(initial=-1)) + 1
        self._components = components
        self._gone_C = np.zeros(count, dtype=np.bool_)
        self._live_C = np.zeros(count, dtype=np.bool_)
        self._memo: dict[tuple[int, ...], tuple[Fields, int]] = {}
        goes = np.zeros(structure.num_units + 1, dtype=np.bool_)
        goes[gone] = True
        for name, fields in recording.tensors.items():
            for field in fields:
                for axis in axes_of(field):
                    if (name, axis) in structure.axes:
                        self._mark(components.of(field), structure.axes[name, axis], goes)

    def _mark(self, component: IntArray, units: IntArray, goes: NDArray[np.bool_]) -> None:
        self._live_C[component[units >= 0]] = True
        self._gone_C[component[goes[units]]] = True

    def is_live(self, field: Tensor) -> bool:
        """Whether some of these tags could be removed."""
        return bool(self._live_C[self._components.of(field)].any())

    def predict(self, shape: Shape, fields: Fields) -> Shape:
        """Shape of a result after the removal; a position goes with any of its tags."""
        along: dict[int, list[Tensor]] = {}
        for field in fields:
            axes = axes_of(field)
            if len(axes) == 1:
                (axis,) = axes
                along.setdefault(axis, []).append(field)
        sizes = list(shape)
        for axis, found in along.items():
            sizes[axis] = self._kept(tuple(found))
        return tuple(sizes)

    def _kept(self, fields: Fields) -> int:
        """Positions that stay on an axis."""
        key = tuple(map(id, fields))
        if key not in self._memo:
            gone = [self._gone_C[self._components.of(field)] for field in fields]
            self._memo[key] = (fields, int((~np.any(gone, axis=0)).sum()))
        return self._memo[key][1]


def first_difference(
    recording: Recording, forecast: Forecast, run: Callable[[], None]
) -> int | None:
    """Index of the first operation that fails, is another or gets another shape; None if none.

    A number that follows from a size (the scale of attention) must be the same too: with another
    number, removing would not equal silencing.
    """
    watcher = Watcher()
    failed = False
    try:
        with watcher:
            run()
    except Exception:
        failed = True
    steps, num_passed = _in_step(recording, watcher.seen), 0
    stated = set(recording.attributes.values())
    for index, seen in steps:
        if index == len(recording.records):
            return index
        record, num_passed = recording.records[index], index + 1
        predicted = tuple(forecast.predict(shape, fields) for shape, fields in record.outputs)
        same = _kind(record.op.name) == _kind(seen.name) and record.numbers == seen.numbers
        if (
            not same
            or _plain(predicted) != _plain(seen.shapes[: len(predicted)])
            or _computes(record, seen, stated)
        ):
            return index
    if failed:
        return _refused(recording, num_passed)
    return None if num_passed == len(recording.records) else num_passed


def alike(records: Sequence[Record], index: int, height: int, forecast: Forecast) -> list[int]:
    """The operations of the same line of code, seen from a module so far up.

    Only where the same could go: a block with one head has other readings than one with many.
    """
    line, can_go = records[index].place.seen_from(height), _can_go(records[index], forecast)
    same = (i for i, x in enumerate(records) if x.place.seen_from(height) == line)
    return [i for i in same if _can_go(records[i], forecast) == can_go]


def _can_go(record: Record, forecast: Forecast) -> tuple[object, ...]:
    """The axes along which something can go, and in how many ways the operation may be read."""
    live = (x for x in record.touched if forecast.is_live(x))
    return record.num_choices, frozenset((axes_of(x), x.ndim) for x in live)


def _plain(shapes: Iterable[Shape]) -> list[Shape]:
    """Shapes without axes of one position: `einsum` puts them elsewhere than longer axes."""
    return [tuple(size for size in shape if size != 1) for shape in shapes]


def _kind(name: str) -> str:
    """A view of memory in plain order; `reshape` issues either."""
    return "view" if name == "_unsafe_view" else name


def _in_step(recording: Recording, seen: list[Seen]) -> Iterator[tuple[int, Seen]]:
    """Operations beside those of the record, by index.

    `reshape` and `contiguous` make a copy where memory is not in plain order. With one head left
    it may be, or no longer be: that copy is passed over.
    """
    records, index = recording.records, 0
    for position, found in enumerate(seen):
        expected = [_kind(record.op.name) for record in records[index : index + 2]]
        coming = [_kind(x.name) for x in seen[position : position + 2]]
        if expected[:1] == ["clone"] != coming[:1] and expected[1:] == coming[:1]:
            index += 1
        elif coming[:1] == ["clone"] != expected[:1] and coming[1:] == expected[:1]:
            continue
        yield index, found
        index += 1


def _computes(record: Record, seen: Seen, stated: Container[int]) -> bool:
    """Whether the code computes with a size that an attribute states, and that is another now."""
    before = meta.integers(record.op.func, record.op.args)
    return any(a != b and a in stated for a, b in zip(before, seen.integers, strict=False))


def _refused(recording: Recording, index: int) -> int:
    """The operation that failed; `reshape` refuses a size before it makes its copy."""
    names = [record.op.name for record in recording.records[index : index + 2]]
    return index + 1 if names == ["clone", "_unsafe_view"] else index
