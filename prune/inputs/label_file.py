"""A file of label names in the order of the network's outputs.

a text         one name a line
a JSON list    the names
a JSON object  name -> number (class_to_idx, label2id) or number -> name (id2label); also inside a
               configuration that has one of these, and as ImageNet's class index has it, number ->
               [folder, word]
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..checks import unfit_name
from ..errors import InputError
from ..files import require_regular
from .origin import MAX_LABELS

MAX_BYTES = 2**26
"""A name of 64 bytes for each of the most labels."""
MAX_DIGITS = 9
"""More than `MAX_LABELS` has."""
KEYS = ("id2label", "class_to_idx", "label2id", "classes", "labels", "label_names")
"""Where configurations of other tools keep names."""


def read_label_names(
    path: Path, option: str = "labels", *, readable: bool = False
) -> tuple[str, ...]:
    """The names in the order of the outputs.

    Args:
        option: that names the file, for messages.
        readable: take the word, where a file has [folder, word].

    Raises:
        InputError: the file cannot be read, is none of the forms, or its names are not one each.
    """
    text = _read(path, option)
    is_json = text.lstrip()[:1] in ("[", "{")
    names = _from_json(text, path, option, int(readable)) if is_json else _from_lines(text)
    wrong = _wrong(names)
    if wrong:
        raise InputError(
            f"`{option}={path}` holds {wrong}; expected each name once, in the order of the "
            "network's outputs; mend the file"
        )
    return tuple(names)


def _read(path: Path, option: str) -> str:
    try:
        require_regular(path)
    except InputError as error:
        raise InputError(f"`{option}`: {error}") from None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"`{option}={path}` is too large to be names of labels; give another")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"`{option}={path}` cannot be read ({error.strerror}); expected a file with a name a "
            "line"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"`{option}={path}` is no text in UTF-8; save it as such") from error


def _from_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_json(text: str, path: Path, option: str, place: int) -> list[str]:
    try:
        names = _names_in(msgspec.json.decode(text), place)
    except (msgspec.DecodeError, RecursionError):
        names = None
    if names is None:
        raise InputError(
            f"`{option}={path}` is not as expected: a JSON list of names, or an object of names "
            "and their numbers from 0 on without a gap; or a text with a name a line"
        )
    return names


def _names_in(found: Any, place: int = 0) -> list[str] | None:
    """Names of a JSON document; None if it has another form.

    Of an entry with several names, the one at `place` counts.

    >>> _names_in({"b": 1, "a": 0}), _names_in({"0": "a", "1": "b"}), _names_in(["a", "b"])
    (['a', 'b'], ['a', 'b'], ['a', 'b'])
    """
    if isinstance(found, list):
        return found if all(isinstance(name, str) for name in found) else None
    if not isinstance(found, Mapping):
        return None
    inner = next((found[key] for key in KEYS if isinstance(found.get(key), list | dict)), None)
    if inner is not None:
        return _names_in(inner, place)
    pairs = [_pair(key, value, place) for key, value in found.items()]
    by_number = dict(pair for pair in pairs if pair is not None)
    if len(by_number) != len(found) or set(by_number) != set(range(len(found))):
        return None
    return [by_number[number] for number in range(len(found))]


def _pair(key: str, value: Any, place: int) -> tuple[int, str] | None:
    """Number and name of one entry of an object."""
    if isinstance(value, list) and value:
        value = value[min(place, len(value) - 1)]
    if isinstance(value, int) and not isinstance(value, bool):
        return value, key
    is_number = key.isdecimal() and len(key) <= MAX_DIGITS
    return (int(key), value) if isinstance(value, str) and is_number else None


def _wrong(names: list[str]) -> str:
    """What is wrong with names, in words; nothing if they are fine."""
    if len(names) < 2 or len(names) > MAX_LABELS:
        return f"{len(names)} name{'s' * (len(names) != 1)}"
    most, times = Counter(names).most_common(1)[0]
    if times > 1:
        return f"{most} {times} times"
    unfit = next((name for name in names if unfit_name(name) or not name), None)
    return "" if unfit is None else f"a name {unfit_name(unfit) or 'of no letters'}"
