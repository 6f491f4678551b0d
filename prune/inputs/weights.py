"""Weights in files: which form a file has, and the state dict inside it.

No code of a file is run unless the user trusts it.
"""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import read_safetensors, require_regular

NESTS = ("state_dict", "model", "model_state_dict", "net", "model_ema", "ema")
"""Where public checkpoints keep the state dict."""
MAX_DEPTH = 8
"""Of such nests; a file could hold them without end."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers put before every name (DataParallel, torch.compile, Lightning)."""


@dataclass(frozen=True)
class Contents:
    """What a file holds: a state dict or (trusted pickles only) a whole network.

    Attributes:
        state: names without prefixes, tensors on the CPU.
        model: the network itself, of a pickled one.
        origin: what `save_checkpoint` wrote beside the weights, as plain values.
    """

    state: dict[str, Tensor]
    model: nn.Module | None = None
    origin: dict[str, Any] | None = None


def read_weights(path: Path, *, trust_pickle: bool = False) -> Contents:
    """Read .pt, .pth, .th (zip or legacy) or .safetensors, by content and not by name.

    Raises:
        InputError: missing, damaged, a pickle that is not trusted, or without weights.
    """
    check_file(path)
    if path.suffix == ".safetensors":
        return Contents(strip_prefixes(read_safetensors(path)[0]))
    loaded = _load(path, trust_pickle)
    if isinstance(loaded, nn.Module):
        return Contents(dict(loaded.state_dict()), loaded.eval())
    if isinstance(loaded, Mapping) and isinstance(loaded.get("model"), nn.Module):
        return Contents(dict(loaded["model"].state_dict()), loaded["model"].eval())
    state = find_state(loaded)
    if state is None:
        raise InputError(
            f"{path} holds {_describe(loaded)}; expected a state dict, plain or under "
            f"{', '.join(NESTS[:4])}"
        )
    origin = loaded.get("origin") if isinstance(loaded, Mapping) else None
    return Contents(strip_prefixes(state), None, origin if isinstance(origin, dict) else None)


def check_file(path: Path) -> None:
    """Raise InputError unless the path is a file that can be read."""
    if path.is_dir():
        raise InputError(
            f"`model={path}` is a folder; expected a file such as model.safetensors; name the file"
        )
    if not path.exists():
        raise no_such_file(path)
    require_regular(path)
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise InputError(
            f"`model={path}` cannot be read ({error.strerror}); allow it, or give a copy"
        ) from error
    if is_empty:
        raise InputError(f"`model={path}` is empty; copy or download it again")


def no_such_file(path: Path) -> InputError:
    """The error of a model that is neither a file nor a name."""
    return InputError(
        f"`model={path}`: no such file; expected .pt, .pth, .th or .safetensors, "
        "torchvision:NAME, timm:NAME or package.module:callable"
    )


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_state(loaded: Any, depth: int = 0) -> dict[str, Tensor] | None:
    """The state dict in what a file holds: itself, or under one of the usual names."""
    if not isinstance(loaded, Mapping) or depth > MAX_DEPTH:
        return None
    for nest in NESTS:
        inner = loaded.get(nest)
        if isinstance(inner, Mapping) and (found := find_state(inner, depth + 1)):
            return found
    tensors = {str(k): v.detach() for k, v in loaded.items() if isinstance(v, Tensor)}
    return tensors if 2 * len(tensors) > len(loaded) else None  # most entries are weights


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what every one of them begins with."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def _load(path: Path, trust_pickle: bool) -> Any:
    try:
        with warnings.catch_warnings():
            # torch warns of a pickle that it did not write, and repeats that in its error.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if not trust_pickle and _is_pickle(path):
            raise InputError(
                f"{path} is a pickle that runs code when it is opened (a whole network, or more "
                "than weights); give a state dict, or add `trust_pickle` if you trust its source"
            ) from error
        raise _damaged(path, error) from error
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{path} is a pickle of classes that cannot be imported here ({_first_line(error)}); "
            "install the library that made it, or save its state dict"
        ) from error
    except Exception as error:
        # torch.load raises whatever a damaged file leads its parsers to.
        raise _damaged(path, error) from error


def _is_pickle(path: Path) -> bool:
    """Whether a pickle stream begins here: torch's zip format, or a bare pickle."""
    with suppress(zipfile.BadZipFile):  # raised for an archive in parts, which torch's is not
        if zipfile.is_zipfile(path):
            return True
    with path.open("rb") as file:
        return file.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _damaged(path: Path, error: Exception) -> InputError:
    reason = _first_line(error)
    if reason.startswith("Weights only"):
        reason = "its bytes are no weights"
    return InputError(
        f"{path} is damaged or no checkpoint of torch ({reason}); copy or download it again"
    )


def _describe(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        names = ", ".join(map(str, list(loaded)[:4]))
        return f"a dictionary without weights (its keys: {names or 'none'})"
    return f"an object of type {type(loaded).__name__}"


def _first_line(error: BaseException) -> str:
    """The first sentence of a library's message, short enough for one line."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 90 else line[:87] + "..."
