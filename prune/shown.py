"""How results show themselves: one short line as their `repr`, tables in a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from itertools import islice
from typing import Any

LONGEST = 120
"""Characters of one value in a line; what is longer is described by its kind and size."""
MOST_ROWS = 200
"""Rows of a table in a notebook: more layers than nearly all networks have."""


def short_repr(result: Any) -> str:
    """The line that stands for a result: its fields, large ones by their kind and size.

    A dataclass takes it as its own: `__repr__ = short_repr`.

    >>> from dataclasses import make_dataclass
    >>> Found = make_dataclass("Found", ["name", "kept"], namespace={"__repr__": short_repr})
    >>> Found("features.0", tuple(range(64)))
    Found(name='features.0', kept=<64 entries>)
    """
    shown = [x for x in fields(result) if x.repr]
    values = (f"{x.name}={described(getattr(result, x.name))}" for x in shown)
    return f"{type(result).__qualname__}({', '.join(values)})"


def described(value: Any) -> str:
    """One value in at most `LONGEST` characters, or by its kind and size.

    >>> described({"a": 1}), described([0.5, 0.25]), described("x" * 200)[-5:]
    ('<1 entry>', '[0.5, 0.25]', "xxx…'")
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}>"
    if callable(getattr(value, "parameters", None)):
        count = sum(x.numel() for x in value.parameters())
        return f"<{type(value).__name__} of {count:,} parameters>"
    if is_dataclass(value) and type(value).__repr__ is short_repr:
        return f"<{type(value).__qualname__}>"
    if isinstance(value, Mapping):
        return _entries(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…")
    if isinstance(value, tuple | list) and len(value) > LONGEST // len("0, "):
        return _entries(value)  # before its repr is made, which may be huge
    text = repr(value)
    if len(text) <= LONGEST:
        return text
    return _entries(value) if isinstance(value, tuple | list) else f"<{type(value).__qualname__}>"


def _entries(value: Mapping[Any, Any] | Sequence[Any]) -> str:
    return "<1 entry>" if len(value) == 1 else f"<{len(value):,} entries>"


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as a notebook shows it; every text is escaped.

    >>> html_table("Two", ["a"], [["<b>"]])
    '<table><caption>Two</caption><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    rest = iter(rows)
    lines = [_row("td", row) for row in islice(rest, MOST_ROWS)]
    if more := sum(1 for _ in rest):
        lines.append(_row("td", [f"and {more} more"]))
    head = f"<caption>{escape(title)}</caption>{_row('th', columns)}"
    return f"<table>{head}{''.join(lines)}</table>"


def _row(kind: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(_cell(x))}</{kind}>' for x in cells)}</tr>"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
