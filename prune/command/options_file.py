"""Options from a file and back: TOML (`--config`) or the run.json of an earlier run.

Only the standard library is imported here, so that `--help` needs no torch.
"""

import json
import tomllib
import typing
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError

T = TypeVar("T")


def read_config(path: Path) -> dict[str, Any]:
    """Options of a TOML file, or of the run.json of an earlier run, as nested tables."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text)["options"] if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"--config {path} cannot be read ({error.strerror}); give a file"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        message = f"--config {path} is neither TOML nor the run.json of a run: {error}"
        raise UsageError(message) from None


def from_tables(kind: type[T], tables: dict[str, Any], missing: Any = None) -> T:
    """The dataclass tree `kind` from nested tables; every unknown name is reported at once."""
    unknown = _unknown_names(kind, tables)
    if unknown:
        raise UsageError(f"--config has unknown names {', '.join(unknown)}; see prune-dl --help")
    return typing.cast(T, _build(kind, tables, missing))


def to_tables(options: Any) -> dict[str, Any]:
    """The tree as plain values, as run.json holds it."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(asdict(options), default=str)))


def _unknown_names(kind: type[Any], tables: dict[str, Any], prefix: str = "") -> list[str]:
    known = {f.name: f.type for f in fields(kind)}
    found = [prefix + name for name in tables if name not in known]
    for name, value in tables.items():
        if is_dataclass(known.get(name)) and isinstance(value, dict):
            found += _unknown_names(typing.cast(type[Any], known[name]), value, f"{prefix}{name}.")
    return found


def _build(kind: Any, tables: dict[str, Any], missing: Any, base: Any = None) -> Any:
    values: dict[str, Any] = {}
    for f in fields(kind):
        default = getattr(base, f.name) if base is not None else _default(f, missing)
        if is_dataclass(f.type):
            table = tables.get(f.name, {})
            values[f.name] = _build(f.type, table, missing, None if default is missing else default)
        else:
            values[f.name] = _plain(f.type, tables[f.name]) if f.name in tables else default
    return kind(**values)


def _default(f: Field[Any], missing: Any) -> Any:
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else missing


def _plain(kind: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    is_path = kind is Path or Path in typing.get_args(kind)
    return Path(value) if is_path and value is not None else value
