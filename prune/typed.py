"""What a file says, read as values of a stated type: msgspec checks names, types and nesting.

A file may come from anyone and may be damaged in any way. Whatever stands in it, the outcome is a
value of the type asked for, whose numbers are finite and whose texts can be written again, or one
`InputError`. No code is run.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeVar

import msgspec

from .errors import InputError, first_line

T = TypeVar("T")
_REFUSALS = (msgspec.MsgspecError, ValueError, TypeError, AssertionError, RecursionError)
"""What decoding, or the dataclass that is made, raises for values that do not fit."""


def from_json(text: str | bytes, kind: type[T], what: str) -> T:
    """A JSON document as a value of a type.

    Args:
        kind: a dataclass, a container of plain values, or whatever msgspec decodes.
        what: the file, for the message.

    Raises:
        InputError: it is no JSON, or does not fit.

    >>> from_json("[1, 2]", tuple[int, int], "sizes.json")
    (1, 2)
    """
    try:
        return from_values(msgspec.json.decode(text), kind, what)
    except _REFUSALS as error:
        if isinstance(error, InputError):
            raise
        raise _unexpected(what, error) from error


def from_values(values: Any, kind: type[T], what: str) -> T:
    """Plain values, as a safe pickle or JSON gives them, as a value of a type.

    Raises:
        InputError: they do not fit.
    """
    try:
        _check_plain(values)
        return msgspec.convert(values, type=kind)
    except _REFUSALS as error:
        raise _unexpected(what, error) from error


def _unexpected(what: str, error: BaseException) -> InputError:
    reason = first_line(error).replace("`", "'")
    return InputError(
        f"{what} does not hold what this release writes there ({reason}); "
        "write it again, or use the release that wrote it"
    )


def _check_plain(value: Any) -> None:
    """Raise ValueError for a number that is not finite, or a text that is not Unicode."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} where a number is expected")
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(key)
            _check_plain(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(item)
