"""Results of commands under names for people, each with its unit: shares in %, sizes in MB.

`--json` keeps the names and numbers of the files.
"""

from collections.abc import Mapping
from typing import Any

NAMES = {
    "arch": "architecture",
    "num_images": "images compared",
    "max_abs_difference": "largest difference from torch",
    "max_relative_difference": "the same, relative",
    "tolerance": "allowed difference",
    "top1_agreement": "same answers as torch",
    "size_bytes": "size",
    "int8_recipe": "INT8 calibration",
    "int8_layers": "layers in INT8",
    "total": "images",
    "seconds": "seconds of training",
    "test_low": "95 % interval from",
    "test_high": "95 % interval to",
    "low": "95 % interval from",
    "high": "95 % interval to",
}
SHARES = ("top1", "fidelity", "mean_average_precision", "low", "high", "success_rate", "agreement")
"""Parts of the names of figures that are shares."""


def in_words(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every figure with its name and its unit, a row each; tables within tables are left out.

    >>> in_words({"held_out_top1": 0.9125, "size_bytes": 4_090_000})
    [('held-out top-1', '91.25 %'), ('size', '4.09 MB')]
    """
    return [
        (figure_name(key), in_unit(key, value))
        for key, value in result.items()
        if not isinstance(value, (dict, list))
    ]


def figure_name(key: str) -> str:
    """The name of a figure for people.

    >>> figure_name("held_out_top1 of minmax"), figure_name("float: features.0")
    ('held-out top-1, minmax', 'in float: features.0')
    """
    if key.startswith("float: "):
        return f"in {key}"
    key, of, variant = key.partition(" of ")
    words = key.replace("held_out", "held-out").replace("top1", "top-1").replace("_", " ")
    return NAMES.get(key, words) + (f", {variant}" if of else "")


def in_unit(key: str, value: Any) -> str:
    """A figure as people read it.

    >>> in_unit("success_rate", 0.645), in_unit("epochs", 3), in_unit("snr", 1.23456)
    ('64.50 %', '3', '1.235')
    """
    if isinstance(value, float) and any(part in key for part in SHARES):
        return f"{100 * value:.2f} %"
    if key.endswith("size_bytes") and value is not None:
        return megabytes(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def megabytes(num_bytes: float) -> str:
    """Bytes in decimal megabytes.

    >>> megabytes(4_090_000)
    '4.09 MB'
    """
    return f"{num_bytes / 1e6:.2f} MB"
