"""Weights in files: which form a file has, and the state dict inside it.

No code of a file is run unless the user trusts it.
"""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import read_safetensors, require_regular
from .foreign import name_foreign, name_foreign_folder
from .inert import is_torchscript, load_inert, read_torchscript, unknown_classes
from .weight_sets import WeightKind, WeightSet, choose_network, find_sets

PARTS = re.compile(r"-(\d{5})-of-(\d{5})\.")
"""In the names of files that hold one network together."""
NETWORKS = ("model", "net", "network", "ema", "model_ema")
"""Where trainings keep whole networks."""
USUAL_NESTS = "state_dict, model, model_state_dict or net"
SHARDED = ("ShardedTensor", "DTensor", "_rebuild_dtensor")
"""Classes whose objects are one process's part of a tensor."""


@dataclass(frozen=True)
class Contents:
    """What a file holds: sets of weights or (trusted pickles only) a whole network.

    Attributes:
        sets: names as they are in the file, tensors on the CPU.
        model: the network itself, of a pickled one.
        origin: what `save_checkpoint` wrote beside the weights, as plain values.
        notes: what has to be said of how it was read.
    """

    sets: tuple[WeightSet, ...]
    model: nn.Module | None = None
    origin: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def read_weights(
    path: Path, *, trust_pickle: bool = False, weights: WeightKind | None = None
) -> Contents:
    """Read .pt, .pth, .th, .ckpt (zip or legacy), .safetensors or TorchScript, by content and not
    by name.

    Args:
        weights: which of several whole networks.

    Raises:
        InputError: missing, damaged, of another kind, a pickle that is not trusted, or without
            weights.
    """
    check_file(path)
    if (part := PARTS.search(path.name)) and int(part[2]) > 1:
        raise InputError(
            f"{path} is one of {int(part[2])} files that hold a network together; "
            "expected all of it; give the folder that holds them and their index"
        )
    loaded = _load(path, trust_pickle)
    if networks := _whole_networks(loaded):
        model, notes = choose_network(networks, str(path), weights)
        return Contents((), model, notes=notes)
    sets = find_sets(loaded)
    if not sets:
        raise InputError(
            f"{path} holds {_describe(loaded)}; expected a state dict, plain or under {USUAL_NESTS}"
        )
    if all(value.numel() == 0 for value in sets[0].tensors.values()):
        raise InputError(
            f"{path} holds names of weights without values, as DeepSpeed (ZeRO 3) and FSDP leave "
            "them in the file of one process; give the state dict that zero_to_fp32.py or "
            "torch.distributed.checkpoint.format_utils makes of all files"
        )
    origin = loaded.get("origin") if isinstance(loaded, Mapping) else None
    return Contents(sets, None, origin if isinstance(origin, dict) else None)


def read_parts(paths: Sequence[Path]) -> Contents:
    """Read files that hold one state dict together. Raises InputError as `read_weights`."""
    tensors: dict[str, Tensor] = {}
    for path in paths:
        check_file(path)
        for one in find_sets(_load(path, False)):
            tensors |= one.tensors
    return Contents((WeightSet((), tensors),))


def check_file(path: Path) -> None:
    """Raise InputError unless the path is a file that can be read."""
    if path.is_dir():
        if foreign := name_foreign_folder(path):
            raise InputError(f"`model={path}` {foreign}")
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
        f"`model={path}`: no such file; expected .pt, .pth, .th, .ckpt or .safetensors, a folder, "
        "torchvision:NAME, timm:NAME or package.module:callable"
    )


def sha256_of(*paths: Path) -> str:
    """Hex digest of a file, or of several one after the other."""
    sha = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                sha.update(block)
    return sha.hexdigest()


def _whole_networks(loaded: Any) -> dict[str, nn.Module]:
    """The networks in what a trusted pickle holds, by their keys."""
    if isinstance(loaded, nn.Module):
        return {"": loaded.eval()}
    if not isinstance(loaded, Mapping):
        return {}
    found = {key: loaded.get(key) for key in NETWORKS}
    return {key: value.eval() for key, value in found.items() if isinstance(value, nn.Module)}


def _load(path: Path, trust_pickle: bool) -> Any:
    """What a file holds, by its content."""
    if foreign := name_foreign(path):
        raise InputError(f"{path} {foreign}")
    if is_safetensors(path) or (path.suffix == ".safetensors" and not _is_pickle(path)):
        return read_safetensors(path)[0]
    if is_torchscript(path):
        return _load_torchscript(path)
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            # torch warns of a pickle that it did not write, and repeats that in its error.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if not trust_pickle and _is_pickle(path):
            return _load_without_classes(path, error)
        raise _damaged(path, error) from error
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{path} is a pickle of classes that cannot be imported here ({_first_line(error)}); "
            "install the library that made it, or save its state dict"
        ) from error
    except Exception as error:
        # torch.load raises whatever a damaged file leads its parsers to.
        raise _damaged(path, error) from error


def _load_torchscript(path: Path) -> dict[str, Tensor]:
    try:
        tensors = read_torchscript(path)
    except Exception as error:
        raise _damaged(path, error) from error
    if not tensors:
        raise InputError(
            f"{path} is a TorchScript network without named weights (a frozen one); "
            "expected weights of a torch network; give the one that it was made from"
        )
    return tensors


def _load_without_classes(path: Path, refusal: Exception) -> Any:
    """The tensors of a training's file, whose settings and callbacks stay unread."""
    sharded = False
    with suppress(Exception):  # whatever a damaged file, or one of the old format, leads torch to
        sharded = any(name.endswith(SHARDED) for name in unknown_classes(path))
        loaded = load_inert(path)
        if find_sets(loaded):
            return loaded
    if sharded:
        raise InputError(
            f"{path} holds one process's shards of the weights (FSDP, tensor parallel); "
            "expected whole tensors; save the full state dict"
        ) from refusal
    raise InputError(
        f"{path} is a pickle that runs code when it is opened (a whole network, or more "
        "than weights); give a state dict, or add `trust_pickle` if you trust its source"
    ) from refusal


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header."""
    with path.open("rb") as file:
        length, brace = int.from_bytes(file.read(8), "little"), file.read(1)
        return brace == b"{" and 2 <= length <= file.seek(0, 2) - 8


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
        names = ", ".join(map(str, list(loaded)[:4]))[:200]
        return f"a dictionary without weights (its keys: {names or 'none'})"
    return f"an object of type {type(loaded).__name__}"


def _first_line(error: BaseException) -> str:
    """The first sentence of a library's message, short enough for one line."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 90 else line[:87] + "..."
