"""Names in the file of `config` are a file's words: they start no code and no download.

The flags of a command are the user's own words, and become `Trusted` names. Those that the file
gave instead are checked here, once, so that run.json of a stranger can be tried out as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..inputs.callables import is_callable_name
from .flags import dashed

CONSENTS = ("trust_pickle", "trust_file")
LIBRARIES = ("torchvision:", "timm:")


def check_config(tables: Mapping[str, Any], argv: Sequence[str]) -> None:
    """Refuse what only the user may ask for.

    Args:
        tables: of the file. argv: the command line; a flag on it wins over the file.

    Raises:
        UsageError: the file names code, a download, or gives the user's consent.
        InputError: it names an architecture with an option that files may not set.
    """
    typed = {word.partition("=")[0].replace("_", "-") for word in argv}
    given = {name: value for name, value in _leaves(tables) if f"--{dashed(name)}" not in typed}
    for name in CONSENTS:
        if given.get(name) is True:
            raise UsageError(f"`config` gives `{name}`, which only you can give; type it yourself")
    if "--trust-file" in typed:
        return
    for name in ("model", "arch", "data", "rank", "metric", "track"):
        if isinstance(value := given.get(name), str):
            _check_word(name, value)


def _leaves(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value


def _check_word(name: str, value: str) -> None:
    body = _without_options(value)
    is_here = name in ("model", "data") and len(value) < 255 and Path(value).exists()
    if is_callable_name(body) and not body.startswith(LIBRARIES) and not is_here:
        raise UsageError(
            f"`config` names `{name}={value}`, which runs code of a module; "
            f"type it yourself if you know it, or `trust_file`"
        )
    if name == "arch":
        _check_arch(value)
    elif (name == "data" and not _data_are_here(value)) or (
        name == "model" and value.startswith(LIBRARIES) and not _weights_are_here(value)
    ):
        raise UsageError(
            f"`config` names `{name}={value}`, which is not on this machine; "
            "type it yourself to download it"
        )


def _without_options(value: str) -> str:
    head, colon, tail = value.rpartition(":")
    return head if colon and "=" in tail else value


def _check_arch(value: str) -> None:
    from ..inputs.file_names import check_file_arch
    from ..inputs.zoo import parse_arch

    parsed = parse_arch(value)
    check_file_arch(value, parsed.source, parsed.name, parsed.options)


def _data_are_here(value: str) -> bool:
    from ..inputs.known import KNOWN, is_here

    return value not in KNOWN or is_here(value)


def _weights_are_here(value: str) -> bool:
    from ..inputs.pretrained import weights_are_here

    return weights_are_here(value)
