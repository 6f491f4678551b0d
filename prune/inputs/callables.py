"""The user's own Python: `package.module:callable`, imported also from the working directory."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError


@dataclass(frozen=True)
class Trusted:
    """A name that may import code or start a download: the user typed it, or trusts its file.

    A plain `str` is taken for what a file says: it is data, and reaches neither the importer nor
    the network, since `import_callable` takes a `Trusted` alone. Only what receives the user's own
    words makes one.
    """

    name: str

    def __str__(self) -> str:
        return self.name


Name = str | Trusted
"""Of an architecture or a data set: by a file, or by the user."""

_PATTERN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_callable_name(spec: str) -> bool:
    """Whether the text has the form of `package.module:callable`."""
    return _PATTERN.fullmatch(spec) is not None


def import_callable(trusted: Trusted) -> Callable[..., Any]:
    """The object that `package.module:callable` names.

    Raises:
        InputError: the module cannot be imported, or holds no such callable.
    """
    spec = str(trusted)
    module_name, name = spec.split(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: object = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise InputError(
            f"{spec}: module {module_name} cannot be imported ({error}); "
            "install it, or run from the folder that holds it"
        ) from error
    if not callable(found):
        raise InputError(
            f"{spec}: module {module_name} has no callable named {name}; name a function of it"
        )
    return found


def call_with(function: Callable[..., Any], offered: Mapping[str, Any], spec: str) -> Any:
    """Call with those of the offered keyword arguments that the signature names.

    Raises:
        UsageError: the callable has other parameters without a default.
    """
    parameters = inspect.signature(function).parameters
    missing = [
        name
        for name, parameter in parameters.items()
        if name not in offered
        and parameter.default is inspect.Parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if missing:
        raise UsageError(
            f"{spec}: parameter {missing[0]!r} has no default; expected a callable that takes "
            f"{', '.join(offered) or 'no arguments'}, and others only with a default"
        )
    return function(**{name: value for name, value in offered.items() if name in parameters})
