"""Options from a file and back: TOML (`--config`) or the run.json of an earlier run.

No torch is imported here, so that `--help` stays fast.
"""

import json
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import msgspec

from ..errors import InputError, UsageError
from ..files import require_regular
from .flags import expected

Tree = TypeVar("Tree")


def read_config(path: Path) -> dict[str, Any]:
    """Options of a TOML file, or of the run.json of an earlier run, as nested tables.

    Raises:
        UsageError: the file cannot be read, or is neither.
    """
    try:
        require_regular(path)
        text = path.read_text(encoding="utf-8")
        tables = json.loads(text)["options"] if path.suffix == ".json" else tomllib.loads(text)
    except InputError as error:
        raise UsageError(f"`config`: {error}") from None
    except OSError as error:
        reason = error.strerror
        raise UsageError(f"`config={path}` cannot be read ({reason}); give a file") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"`config={path}` is neither TOML nor the run.json of a run: {error}"
        ) from None
    if not isinstance(tables, dict):
        raise UsageError(f"`config={path}` holds no options; expected tables, as run.json has them")
    return tables


def from_tables(kind: type[Tree], tables: dict[str, Any], missing: Any = None) -> Tree:
    """The dataclass tree `kind` from nested tables; what a table leaves out keeps its default.

    Args:
        missing: value of a field that has no default and is not in the tables.

    Raises:
        UsageError: unknown names, or values of the wrong type, all of them in one line.
    """
    wrong = list(_wrong_names(kind, tables)) or list(_wrong_values(kind, tables))
    if wrong:
        raise UsageError(f"`config` has {'; '.join(wrong)}; see prune-dl --help")
    return cast(Tree, _build(kind, tables, missing))


def to_tables(options: Any) -> dict[str, Any]:
    """The tree as plain values, as run.json holds it."""
    return cast(dict[str, Any], json.loads(json.dumps(asdict(options), default=str)))


def _wrong_names(kind: type[Any], tables: dict[str, Any]) -> Iterator[str]:
    unknown = [name for name, _ in _unknown(kind, tables, "")]
    if unknown:
        yield f"unknown names {', '.join(unknown)}"


def _unknown(kind: type[Any], tables: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    known = {f.name: f.type for f in fields(kind)}
    for name, value in tables.items():
        if name not in known:
            yield prefix + name, value
        elif is_dataclass(known[name]) and isinstance(value, dict):
            yield from _unknown(cast(type[Any], known[name]), value, f"{prefix}{name}.")


def _wrong_values(kind: type[Any], tables: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every value of the wrong type: its place, what was given, and what was expected."""
    types = typing.get_type_hints(kind)
    for name, value in tables.items():
        place, stated = f"{prefix}{name}", types[name]
        if not is_dataclass(stated):
            try:
                _typed(stated, value)
            except (msgspec.ValidationError, UnicodeError):
                yield f"{place} = {value!r}; expected {expected(stated)}"
        elif isinstance(value, dict):
            yield from _wrong_values(cast(type[Any], stated), value, f"{place}.")
        else:
            yield f"{place} = {value!r}; expected a table of options, [{place}]"


def _build(kind: Any, tables: dict[str, Any], missing: Any, base: Any = None) -> Any:
    types = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for f in fields(kind):
        default = getattr(base, f.name) if base is not None else _default(f, missing)
        if is_dataclass(types[f.name]):
            table = tables.get(f.name, {})
            own = None if default is missing else default
            values[f.name] = _build(types[f.name], table, missing, own)
        else:
            given = f.name in tables
            values[f.name] = _typed(types[f.name], tables[f.name]) if given else default
    return kind(**values)


def _default(f: Field[Any], missing: Any) -> Any:
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else missing


def _typed(stated: Any, value: Any) -> Any:
    """A plain value as the type that a field states; raises msgspec.ValidationError.

    One whole number stands for a list of one, as it does on the command line.
    """
    is_alone = isinstance(value, int) and not isinstance(value, bool)
    takes_several = tuple[int, ...] in (stated, *get_args(stated))
    values = [value] if is_alone and takes_several else value
    return msgspec.convert(values, type=stated, dec_hook=_as_path)


def _as_path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"expected {kind.__name__}")
