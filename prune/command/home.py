"""What stays at home: run.json, which alone knows where on this machine things are.

What is shipped (model.safetensors, ONNX files, reports, the folder for the Hub) names files and
folders without the way to them.
"""

import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_json
from ..typed import from_json
from .options_file import to_tables

RUN_FILE = "run.json"
"""In the output folder of a run."""


def write_run(folder: Path, command: str, options: Any, data: str) -> None:
    """Write run.json: the options, and the data under the name that opens them here."""
    document = {"command": command, "options": to_tables(options), "data": data}
    write_json(folder / RUN_FILE, document)


def data_at_home(model: Path, stated: str) -> str:
    """Where the data that a model file names are: run.json beside it may know the folder.

    Args:
        model: the file. stated: its word for the data: of a folder, the name alone.

    Returns:
        the folder's path, or `stated` where there is no run.json, or one of other data.
    """
    try:
        text = (model.parent / RUN_FILE).read_bytes()
        known = from_json(text, dict[str, Any], RUN_FILE).get("data")
    except (OSError, ValueError, InputError):
        return stated
    name = stated.removesuffix("/")
    is_same = isinstance(known, str) and Path(known).is_absolute() and Path(known).name == name
    return str(known) if is_same else stated


def without_places(words: list[str]) -> str:
    """Words of a command line for what is shipped: of a file or folder elsewhere, its name alone.

    >>> without_places(["--model", "/home/me/vgg16.pt", "--out=runs/a", "--keep", "0.5"])
    '--model vgg16.pt --out=runs/a --keep 0.5'
    """
    return " ".join(map(_without_place, words))


def _without_place(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + shown_name(value)


def shown_name(value: str) -> str:
    """A file's or folder's name for what is shipped; other words, and paths from here, as they are.

    >>> shown_name("/home/me/vgg16.pt"), shown_name("timm:resnet18")
    ('vgg16.pt', 'timm:resnet18')
    """
    path = Path(value)
    leads_away = path.is_absolute() or ".." in path.parts
    return os.path.basename(os.path.abspath(value)) if leads_away else value
