"""Sizes that a module keeps as plain attributes: integers, also inside lists and tuples.

They have names like the tensors of a network: `num_heads`, `splits[2]`, `shape[0]`.
"""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

NAME = re.compile(r"(\w+)((?:\[\d+\])*)")
"""An attribute, and positions in nested lists or tuples."""
MAX_NESTED = 3
"""Lists in lists that are searched: no network known keeps sizes any deeper."""


def sizes_in(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Names and values of the positive integers that an attribute holds.

    >>> list(sizes_in("splits", (8, [4, 4])))
    [('splits[0]', 8), ('splits[1][0]', 4), ('splits[1][1]', 4)]
    """
    if type(value) is int and value > 0:
        yield name, value
    elif isinstance(value, list | tuple) and depth < MAX_NESTED:
        for index, inner in enumerate(value):
            yield from sizes_in(f"{name}[{index}]", inner, depth + 1)


def stated(module: nn.Module, name: str) -> int | None:
    """The integer that a module keeps under this name; None where it keeps none."""
    found = NAME.fullmatch(name)
    value = vars(module).get(found[1]) if found else None
    for index in _positions(found[2] if found else ""):
        if not isinstance(value, list | tuple) or index >= len(value):
            return None
        value = value[index]
    return value if type(value) is int else None


def state(module: nn.Module, name: str, size: int) -> None:
    """Put another integer under this name; lists and tuples are made anew, not written into."""
    found = NAME.fullmatch(name)
    assert found is not None, name
    old = vars(module)[found[1]]
    setattr(module, found[1], _with(old, _positions(found[2]), size))


def _with(value: Any, positions: list[int], size: int) -> Any:
    """The value with one integer changed."""
    if not positions:
        return size
    changed = list(value)
    changed[positions[0]] = _with(value[positions[0]], positions[1:], size)
    if hasattr(value, "_fields"):  # a named tuple takes its items one by one
        return type(value)(*changed)
    return type(value)(changed)


def _positions(brackets: str) -> list[int]:
    return [int(x) for x in re.findall(r"\d+", brackets)]
