"""Names of architectures that come from a file: which of them, and with which options.

A stranger's file may name any of the zoo's networks and of the classifiers that torchvision and
timm hold, with options from a list. Its words reach no importer and no constructor unchecked.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError

Fits = Callable[[Any], bool]


def _whole(least: int, most: int) -> Fits:
    return lambda value: type(value) is int and least <= value <= most


def _number(above: float, most: float) -> Fits:
    return lambda value: type(value) in (int, float) and above < value <= most


def _switch(value: Any) -> bool:
    return type(value) is bool


MAX_CHANNELS = 4096
"""More input channels than any image or feature map that a classifier is given."""
MAX_WIDTH = 64
"""Factor on the filters of a layer: beyond it a network of the zoo holds 10^10 weights and more."""
_CHANNELS: dict[str, Fits] = {"in_channels": _whole(1, MAX_CHANNELS)}


def _rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


POOLINGS = frozenset(("avg", "max", "avgmax", "catavgmax", "fast", "token", "map"))
"""Of timm's networks."""

FILE_OPTIONS: Mapping[str, Mapping[str, Fits]] = {
    "zoo": _CHANNELS | {"width": _number(0, MAX_WIDTH), "early_pools": _whole(0, 5)},
    "torchvision": _CHANNELS
    | dict.fromkeys(("aux_logits", "init_weights", "transform_input"), _switch)
    | {"zero_init_residual": _switch}
    | dict.fromkeys(("dropout", "stochastic_depth_prob", "drop_rate"), _rate)
    | dict.fromkeys(("groups", "width_per_group"), _whole(1, MAX_CHANNELS))
    | {"width_mult": _number(0, MAX_WIDTH), "image_size": _whole(1, MAX_CHANNELS)},
    "timm": _CHANNELS
    | dict.fromkeys(("drop_rate", "drop_path_rate"), _rate)
    | {"img_size": _whole(1, MAX_CHANNELS), "global_pool": POOLINGS.__contains__},
}
"""Source -> option that a file may set -> whether a value is one of its. What is not here is not
passed on: some options of these libraries name files or addresses."""
_PLAIN = re.compile(r"[A-Za-z][\w.\-]*")
"""A registered name. timm takes others for places to load from: hf-hub:NAME, local-dir:PATH."""


def check_file_arch(arch: str, source: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse an architecture that a file may not name.

    Args:
        arch: as it stands in the file, for the message. source, name, options: its parts.

    Raises:
        InputError: it is code of a module, or has an option or a value that is not listed.
    """
    if source not in FILE_OPTIONS or not _PLAIN.fullmatch(name):
        raise InputError(
            f"the file names the architecture {arch[:200]}, which runs code from elsewhere; "
            f"if you know it, give `arch={arch[:200]}`, or `trust_file`"
        )
    for key, value in options.items():
        fits = FILE_OPTIONS[source].get(key)
        if fits is None or not fits(value):
            raise InputError(
                f"the file names the architecture {arch[:200]}; expected an option that files may "
                f"set, and not {key}={value}; if you know it, give `arch` yourself, or `trust_file`"
            )
