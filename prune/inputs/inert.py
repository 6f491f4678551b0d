"""Tensors out of files that also hold objects of classes: no class is imported, nothing is called.

torch's own reader of weights runs no code; it stops at the first class that it does not know. Here
every such class is given to it as `Inert`, which only keeps what it is filled with. A training's
settings and callbacks thus do no harm, and TorchScript, whose code `torch.jit.load` would run in
part (`__setstate__`), is read as what it is: a tree of tensors.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_MODULE_DEPTH = 64
"""Of modules within modules; a file could nest them without end."""
LEFT_BEHIND = ("code/", "constants", "traced_inputs", "extra/")
"""Parts of a TorchScript archive that hold no weights; with its constants torch refuses it."""


class Inert:
    """Stands for an object of any class of a file.

    Attributes:
        state: what the object was filled with, None for nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        """Keep what the object would have been filled with."""
        self.state = state


def load_inert(file: Path | io.BytesIO) -> Any:
    """What a file of `torch.save` holds, with `Inert` for every object of a class unknown to torch.

    Raises:
        Exception: whatever torch raises for a damaged file, or one of its old format.
    """
    unknown = unknown_classes(file)
    if isinstance(file, io.BytesIO):
        file.seek(0)
    with torch.serialization.safe_globals([(Inert, name) for name in unknown]):
        return torch.load(file, map_location="cpu", weights_only=True)


def unknown_classes(file: Path | io.BytesIO) -> list[str]:
    """Classes and functions that a file of `torch.save` names and torch does not know.

    Raises:
        Exception: as `load_inert`.
    """
    return torch.serialization.get_unsafe_globals_in_checkpoint(file)


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of `torch.jit.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            inner = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return {"constants.pkl", "data.pkl"} <= inner


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive, by their names in the state dict.

    Raises:
        Exception: whatever a damaged archive leads its parsers to.
    """
    kept = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(kept, "w") as copy:
        for part in archive.infolist():
            if part.filename.partition("/")[2].startswith(LEFT_BEHIND):
                continue
            if part.file_size > path.stat().st_size:  # torch stores weights as they are
                raise zipfile.BadZipFile(f"{part.filename} is larger than the file")
            copy.writestr(part.filename, archive.read(part))
    kept.seek(0)
    return dict(_tensors_in(load_inert(kept), "", 0))


def _tensors_in(module: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module and of the modules in it."""
    attributes = module.state if isinstance(module, Inert) else None
    if not isinstance(attributes, Mapping) or depth > MAX_MODULE_DEPTH:
        return
    for name, value in attributes.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value.detach()
        else:
            yield from _tensors_in(value, f"{prefix}{name}.", depth + 1)
