"""Between the words of the library and the flags of the command line, in both directions.

The library names an option in backquotes under its Python name (`errors`); here alone such words
become flags, once, where a person reads them.
"""

import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from itertools import takewhile
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro import conf

from ..errors import FED_AS_TRAINED, OTHER_SIZE, OWN_ARCHITECTURE, on_one_line
from .trees import COMMANDS, Job

_OPTION = re.compile(r"`(\w+)(?:=([^`]*))?`")
PHRASES = {
    OTHER_SIZE: "another --input-size",
    FED_AS_TRAINED: "say how they are fed (--mean, --std, --input-size)",
    OWN_ARCHITECTURE: "the --arch that the file was made from",
}
"""What the library asks for in words, where the command line has flags for it."""
NAMES_OF_FLAGS = {"criterion": "rank"}
"""What a function of the library calls an option, where its flag has another name."""


def in_flags(text: str) -> str:
    """A message with its options as flags; a word in backquotes that is no option stays.

    >>> in_flags("`keep=1.5` given; expected a share; see `repair=False` and `tensor`")
    '--keep 1.5 given; expected a share; see --no-repair and `tensor`'
    """
    for words, flags in PHRASES.items():
        text = text.replace(words, flags)
    return _OPTION.sub(_as_flag, text)


def one_line(error: Exception) -> str:
    """What an error says, on one line, with its options as flags."""
    return in_flags(on_one_line(str(error)))


def _as_flag(found: re.Match[str]) -> str:
    name, value = NAMES_OF_FLAGS.get(found[1], found[1]), found[2]
    if name not in _known():
        return found[0]
    if value == "False":
        return f"--no-{dashed(name)}"
    return f"--{dashed(name)}" + ("" if value in (None, "True") else f" {value}")


def dashed(name: str) -> str:
    """An option's name as flags are written."""
    return name.replace("_", "-")


@cache
def _known() -> frozenset[str]:
    """Names of all options of all commands."""
    trees: list[type[Any]] = [Job, *COMMANDS.values()]
    return frozenset(name for tree in trees for name in leaves(tree))


def leaves(tree: type[Any]) -> dict[str, Any]:
    """Type of every option in a tree of dataclasses, by its last name: the flags of a command."""
    found: dict[str, Any] = {}
    for name, stated in get_type_hints(tree).items():
        nested = isinstance(stated, type) and is_dataclass(stated)
        found |= leaves(stated) if nested else {name: stated}
    return found


def shown(tree: type[Any]) -> dict[str, Any]:
    """The same but for the flags that a command does not show: they mean nothing to it.

    >>> from .trees import Evaluate
    >>> "resume" in leaves(Evaluate), "resume" in shown(Evaluate)
    (True, False)
    """
    found: dict[str, Any] = {}
    for name, stated in get_type_hints(tree, include_extras=True).items():
        if isinstance(stated, type) and is_dataclass(stated):
            found |= shown(stated)
        elif conf.Suppress not in getattr(stated, "__metadata__", ()):
            found[name] = stated
    return found


def expected(stated: Any) -> str:
    """What an option of a type takes, in words.

    >>> expected(float | None)
    'a number'
    """
    if get_origin(stated) in (Union, UnionType):  # with None
        stated = get_args(stated)[0]
    if get_origin(stated) is Literal:
        return f"one of {', '.join(get_args(stated))}"
    if get_origin(stated) is tuple:
        named = get_args(stated)[0] is str
        return f"{'names' if named else 'numbers'}, separated by spaces"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}
    return words.get(stated, "a path")


def explain(complaint: str, tree: type[Any], argv: Sequence[str]) -> str:
    """tyro's complaint as what was given and what was expected; others as they are.

    The sentences are those of the releases that pyproject.toml allows.
    """
    if found := re.match(r"Error parsing (--\S+):", complaint):
        return f"{_as_given(found[1], argv)} given; expected {_expected(tree, found[1])}"
    if found := re.match(r"[Mm]issing value for argument '(--[^\s']+)'", complaint):
        return f"{found[1]} given without a value; expected {_expected(tree, found[1])}"
    if found := re.match(r"invalid choice '.*' for argument '(--[^\s']+)'", complaint):
        return f"{_as_given(found[1], argv)} given; expected {_expected(tree, found[1])}"
    if found := re.match(r"invalid choice '(.*)' for argument '(\w+)'", complaint):
        return f"{found[1]} given; expected {expected(leaves(tree)[found[2]])}"
    if found := re.match(r"Missing from [^:]*: (--\S+) \S+ (.*) \(required\)$", complaint):
        return f"{found[1]} is missing; give it: {found[2]}"
    if found := re.match(r"Unrecognized options: (.*)", complaint):
        unknown = found[1].replace(",", "").split()
        return f"{' '.join(unknown)} given, {_why_unknown(unknown[0], tree)}"
    return complaint


def _why_unknown(flag: str, tree: type[Any]) -> str:
    """Of a flag that a command has not: the commands that have it, or the flag that was meant."""
    name = flag.partition("=")[0].removeprefix("--").replace("-", "_")
    others = [command for command, options in COMMANDS.items() if name in shown(options)]
    if others:
        return f"which this command does not have ({', '.join(others)})"
    near = get_close_matches(flag, [f"--{dashed(name)}" for name in shown(tree)], n=1)
    return "which is unknown" + (f"; did you mean {near[0]}?" if near else "")


def _as_given(flag: str, argv: Sequence[str]) -> str:
    """A flag with what followed it on the command line."""
    for place, part in enumerate(argv):
        name, equals, value = part.partition("=")
        if dashed(name) == flag:
            values = [value] if equals else takewhile(_is_value, argv[place + 1 :])
            return " ".join([flag, *values])
    return flag


def _is_value(part: str) -> bool:
    return not part.startswith("--")


def _expected(tree: type[Any], flag: str) -> str:
    """What a flag takes, in words."""
    return expected(leaves(tree)[flag.removeprefix("--").replace("-", "_")])
