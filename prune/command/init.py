"""`prune-dl init`: a commented TOML of the job, to be edited and run with `config`."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ..files import write_text
from ..folder import check_writable
from .flags import expected
from .trees import Init, Job

WIDTH = 96
UNWRITTEN = ("config", "trust_pickle", "trust_file")
"""Options that mean nothing in a file, or that only the user may type."""
HEAD = """\
# A job of prune-dl:  prune-dl prune --config {name}
# A line that starts with "# name =" shows a default: remove the "# " to change it.
# Flags on the command line win over this file.
"""


def write_config(options: Init) -> Path:
    """Write the file; every option of the job is in it, with what it does.

    Raises:
        UsageError: the file exists. InputError: it cannot be written.
    """
    check_writable(options.out)
    write_text(options.out, config_text(options))
    return options.out


def config_text(options: Init) -> str:
    """The text of the file."""
    given = {"model": options.model, "keep": options.keep}
    if options.data is not None:
        given["data"] = options.data
    head = HEAD.format(name=options.out.name)
    return head + "\n".join(_table(Job, "", given)) + "\n"


def _table(tree: type[Any], title: str, given: dict[str, Any]) -> Iterator[str]:
    """Lines of one table of options, then those of the tables in it."""
    types, words = get_type_hints(tree), _descriptions(tree)
    if title:
        yield f"\n[{title}]  # {(tree.__doc__ or '').splitlines()[0]}"
    nested = []
    for option in fields(tree):
        stated = types[option.name]
        if is_dataclass(stated):
            nested.append((stated, option.name))
        elif option.name not in UNWRITTEN:
            yield ""
            yield from (f"# {line}" for line in textwrap.wrap(words[option.name], WIDTH))
            yield _line(option, stated, given)
    for stated, name in nested:
        assert isinstance(stated, type)
        yield from _table(stated, name, given)


def _line(option: Field[Any], stated: Any, given: dict[str, Any]) -> str:
    if option.name in given:
        return f"{option.name} = {json.dumps(given[option.name])}"
    default = option.default
    if default is None or default is MISSING:
        return f"# {option.name} =   ({expected(stated)})"
    value = list(default) if isinstance(default, tuple) else default
    return f"# {option.name} = {json.dumps(value, default=str)}"


def _descriptions(tree: type[Any]) -> dict[str, str]:
    """What stands under every field of a dataclass, as `--help` shows it."""
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(tree))).body
    assert isinstance(defined, ast.ClassDef)
    found = {}
    for field, text in zip(defined.body, defined.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found
