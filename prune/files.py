"""Files and folders that are either whole or not there; and safetensors, read and written.

Everything is first written beside its place, under a hidden name that ends in `.partial`, and then
renamed: a reader, a crash or a full disk never sees half of it. Only the standard library is
imported at the top, so that `--help` needs no torch.
"""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, first_line

if TYPE_CHECKING:
    from torch import Tensor, dtype

Shape = tuple[int | None, ...]
"""Sizes of a tensor's axes; None for any."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden neighbour to write to; it becomes `path` when the block ends well, else it goes.

    Folders that lead to `path` are made. Two writers never share a neighbour; the last one wins.

    Raises:
        InputError: the place cannot be written to.
    """
    partial = hidden_neighbour(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # gone already, or its folder was never there
            partial.unlink()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """The same for a folder, which must not exist yet, or be empty."""
    partial = hidden_neighbour(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def hidden_neighbour(path: Path) -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def remove_half_written(path: Path) -> None:
    """Remove what writers that were killed left beside `path`, for its only writer now."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\d+\.partial")
    for left in path.parent.iterdir():
        if pattern.fullmatch(left.name):
            discard(left)


def discard(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> InputError:
    """The error of a place that cannot be written to."""
    reason = error.strerror or type(error).__name__
    return InputError(f"{path} cannot be written ({reason}); give another place")


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular(path: str | Path) -> None:
    """Refuse a place to read from that may block or never end: a pipe, a socket, a device.

    A place where nothing is, or that cannot be looked at, passes: to read it says why it fails.

    Raises:
        InputError: it is there, and no regular file.

    >>> require_regular("/")
    Traceback (most recent call last):
    prune_dl.prune.errors.InputError: / is a folder; expected a regular file; give a file
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # a name with NUL is a ValueError
        return
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise InputError(f"{path} is {kind}; expected a regular file; give a file")


def read_bytes(path: Path) -> bytes:
    """A whole regular file. Raises InputError where it cannot be read."""
    require_regular(path)
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that no system takes
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{path} cannot be read ({reason}); allow it, or give a copy") from error


def write_bytes(path: Path, contents: bytes) -> Path:
    """Write a file whole; gives back its path. Raises InputError as `whole_file`."""
    with whole_file(path) as partial:
        partial.write_bytes(contents)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole, in UTF-8; gives back its path. Raises InputError."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, document: Any) -> Path:
    """Write plain values as JSON, whole; gives back its path. Raises InputError.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return write_text(path, json.dumps(document, indent=1, allow_nan=False))


def write_torch(path: Path, values: Any) -> Path:
    """Write what `torch.save` writes, whole; gives back its path. Raises InputError."""
    import io

    import torch

    buffer = io.BytesIO()  # a name of its own inside the archive would make equal files differ
    torch.save(values, buffer)
    return write_bytes(path, buffer.getvalue())


def write_safetensors(
    path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]
) -> Path:
    """Write tensors (contiguous, on the CPU) whole; gives back the path. Raises InputError.

    Equal tensors and metadata give equal files.
    """
    from safetensors.torch import save

    contents = memoryview(save(dict(tensors), dict(metadata)))
    start = _LENGTH_BYTES + int.from_bytes(contents[:_LENGTH_BYTES], "little")
    header = _in_order(json.loads(bytes(contents[_LENGTH_BYTES:start])))
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(len(header).to_bytes(_LENGTH_BYTES, "little"))
        file.write(header)
        file.write(contents[start:])
    return path


_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which is a multiple of this."""


def _in_order(header: dict[str, Any]) -> bytes:
    """The header with its metadata in alphabetical order: the library writes any order."""
    metadata = header.get("__metadata__", {})
    ordered = {**header, "__metadata__": dict(sorted(metadata.items()))}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return text + b" " * (-len(text) % _LENGTH_BYTES)


def read_safetensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Tensors, on the CPU, and metadata of a safetensors file. No code is run.

    Raises:
        InputError: it cannot be read, or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} is not a whole safetensors file ({reason}); copy or download it again"
        ) from error


def tensor_in(
    path: Path, tensors: Mapping[str, "Tensor"], name: str, dtype: "dtype", shape: Shape
) -> "Tensor":
    """One tensor of a file, which must have this type and this shape (None: any size of 1 or more).

    Raises:
        InputError: it is not there, or is another.
    """
    found = tensors.get(name)
    sizes = () if found is None else tuple(found.shape)
    fits = len(sizes) == len(shape) and all(
        size == wanted or (wanted is None and size > 0)
        for size, wanted in zip(sizes, shape, strict=True)
    )
    if found is None or found.dtype != dtype or not fits:
        given = "none" if found is None else f"{found.dtype} of shape {sizes}"
        expected = ", ".join("n" if size is None else str(size) for size in shape)
        raise InputError(
            f"{path} holds no {name[:200]} as it should ({given}; expected {dtype} of shape "
            f"({expected})); write the file again"
        )
    return found


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file alone; empty for any other file.

    Raises:
        InputError: it is no regular file.
    """
    from safetensors import SafetensorError, safe_open

    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}
