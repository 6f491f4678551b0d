"""Files that are either whole or not there."""

import io
import os
from pathlib import Path
from typing import Any

from .errors import InputError


def write_bytes(path: Path, contents: bytes) -> None:
    """Write through a hidden neighbour, so that no reader ever sees half of a file.

    Raises:
        InputError: the place cannot be written to; nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(contents)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror}); give another") from error


def write_torch(path: Path, values: Any) -> None:
    """The same for what `torch.save` writes."""
    import torch

    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_bytes(path, buffer.getvalue())
