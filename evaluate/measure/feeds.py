"""Random inputs for any graph, made from the shapes and types that it declares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.session import Session
from ...prune.errors import InputError, UsageError

Feed = dict[str, NDArray[Any]]
DTYPES = {
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
        InputError: the graph takes something that is not a tensor of numbers.
    """
    generator = np.random.default_rng(seed)
    return {
        entry.name: _fill(entry, _shape(entry, batch_size, input_size), generator)
        for entry in session.get_inputs()
    }


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


def _fill(entry: Any, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[Any]:
    dtype = DTYPES.get(entry.type)
    if dtype is None:
        raise InputError(
            f"input {entry.name} is {entry.type}; expected numbers; such a file cannot be timed"
        )
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    if dtype is np.uint8:
        return generator.integers(256, size=shape, dtype=np.uint8)
    return np.zeros(shape, dtype)
