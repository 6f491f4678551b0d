"""Random inputs for any graph, made from the shapes and types that it declares."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.session import Session
from ...prune.errors import InputError, UsageError

Feed = dict[str, NDArray[Any]]
LARGEST_FEED = 2**29
"""Bytes of all inputs of one run together: 870 colour images of 224 x 224. Drawing them takes three
times as many."""
DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def make_feed(
    session: Session, batch_size: int, input_size: tuple[int, ...] | None = None, seed: int = 0
) -> Feed:
    """One batch for every input of the graph: normal floats, uniform bytes, zeros elsewhere.

    Args:
        batch_size: for the first axis of every input, unless the graph fixes it otherwise.
        input_size: the other axes, needed only where the graph leaves them free.

    Raises:
        UsageError: the graph takes another batch size, or leaves a size open that was not given.
        InputError: the graph takes something that is not a tensor of numbers, or more than
            `LARGEST_FEED` of them.
    """
    generator = np.random.default_rng(seed)
    entries = session.get_inputs()
    shapes = [_shape(entry, batch_size, input_size) for entry in entries]
    dtypes = [_dtype(entry) for entry in entries]
    _check_size(shapes, dtypes)
    return {
        entry.name: _fill(shape, dtype, generator)
        for entry, shape, dtype in zip(entries, shapes, dtypes, strict=True)
    }


def _check_size(shapes: list[tuple[int, ...]], dtypes: list[type[np.generic]]) -> None:
    """Before anything is allocated, and in whole numbers of any length."""
    sizes = [
        prod(shape) * np.dtype(dtype).itemsize for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    if sum(sizes) > LARGEST_FEED:
        largest = shapes[sizes.index(max(sizes))]
        raise InputError(
            f"an input of {' x '.join(map(str, largest))} numbers given, {sum(sizes) / 2**30:.3g} "
            f"GiB in all; expected at most {LARGEST_FEED / 2**30:g} GiB for one run; "
            "give a smaller `latency_batch` or `input_size`, or another file"
        )


def _shape(entry: Any, batch_size: int, input_size: tuple[int, ...] | None) -> tuple[int, ...]:
    first, *rest = entry.shape or [None]
    if isinstance(first, int) and first != batch_size:
        raise UsageError(
            f"`latency_batch={batch_size}` given; input {entry.name} takes {first} images, no more "
            f"and no fewer; give `latency_batch={first}`"
        )
    if all(isinstance(axis, int) for axis in rest):
        return (batch_size, *rest)
    if input_size is None or len(input_size) != len(rest):
        raise UsageError(
            f"input {entry.name} leaves sizes open {tuple(entry.shape)}; "
            f"expected {len(rest)} sizes of one image; give `input_size`, such as 3 224 224"
        )
    return (batch_size, *input_size)


def _dtype(entry: Any) -> type[np.generic]:
    dtype = DTYPES.get(entry.type)
    if dtype is None:
        raise InputError(
            f"input {entry.name} is {entry.type}; expected numbers; such a file cannot be timed"
        )
    return dtype


def _fill(
    shape: tuple[int, ...], dtype: type[np.generic], generator: np.random.Generator
) -> NDArray[Any]:
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    if dtype is np.uint8:
        return generator.integers(256, size=shape, dtype=np.uint8)
    return np.zeros(shape, dtype)
