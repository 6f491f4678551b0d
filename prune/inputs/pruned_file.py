"""A smaller network in one file: what it was made from, what was kept, and its weights.

Format, version 1: a safetensors file (no pickle; any safetensors reader opens it).

    metadata    format = "prune-dl", version = "1"
                origin = JSON object: arch, num_labels, data, labels, input_size, mean, std,
                         cut (passed, classifier, num_features) where it has less depth, and
                         labels_kept where its classifier was cut to some of num_labels labels
                notes  = JSON object of strings, free
    tensors     NAME              weights and buffers under their names in the state dict; a tensor
                                  that has several names is stored under the first
                kept:AXIS:NAME    int64, ascending: positions of axis AXIS of tensor NAME of the
                                  architecture that are left; an axis that is not here is whole

To rebuild: build the architecture `arch` with `num_labels` outputs, put plain weights in place of
those that it computes from others (weight norm, spectral norm, masks), let the modules `passed` of
a cut pass their input on and give its classifier `num_features` inputs, keep the kept positions of
each tensor, state the new sizes in the modules (out_channels, ...), load the weights. A weight that
the architecture has no place for is a bias that a layer without one was given by repair.
A reader refuses a version that it does not know. Positions refer to the architecture also when a
pruned network was pruned again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OWN_ARCHITECTURE, InputError
from ..files import read_safetensors, read_safetensors_metadata, write_safetensors
from ..structure.depth import cut_off
from ..structure.permanent import permanent
from ..structure.surgery import keep_positions
from ..structure.units import AxisKey, IntArray
from ..typed import from_json
from . import zoo
from .callables import Trusted
from .origin import Origin

NETWORK_FORMAT, NETWORK_VERSION = "prune-dl", "1"
_KEPT = "kept"


@dataclass(frozen=True)
class PrunedFile:
    """All that a file holds of its network but the weights.

    Attributes:
        origin: architecture, labels and inputs.
        kept: positions of the architecture's tensor axes that are left.
        notes: free text by key.
    """

    origin: Origin
    kept: Mapping[AxisKey, IntArray]
    notes: Mapping[str, str]


def save_pruned(
    path: Path,
    model: nn.Module,
    origin: Origin,
    kept: Mapping[AxisKey, IntArray],
    notes: Mapping[str, str],
) -> None:
    """Write a smaller network; a file that is there is replaced only by a whole one.

    Args:
        kept: positions of the architecture's tensor axes that are left; `PrunedFile.kept`.
        notes: free text by key.

    Raises:
        InputError: the place cannot be written to.
    """
    tensors = _unique_state(model)
    for (name, axis), positions in kept.items():
        tensors[f"{_KEPT}:{axis}:{name}"] = torch.from_numpy(positions)
    metadata = {
        "format": NETWORK_FORMAT,
        "version": NETWORK_VERSION,
        "origin": json.dumps(origin.to_dict()),
        "notes": json.dumps(dict(notes)),
    }
    write_safetensors(path, tensors, metadata)


def compose(
    first: Mapping[AxisKey, IntArray], second: Mapping[AxisKey, IntArray]
) -> dict[AxisKey, IntArray]:
    """Positions left of the architecture after a pruned network was pruned again."""
    both = {key: first[key][second[key]] for key in first.keys() & second.keys()}
    return {**first, **second, **both}


def is_pruned_file(path: Path) -> bool:
    """Whether a file is a safetensors file of this format, of any version."""
    return read_safetensors_metadata(path).get("format") == NETWORK_FORMAT


def read_pruned_file(path: Path) -> PrunedFile:
    """Everything but the weights.

    Raises:
        InputError: the file is missing, damaged, of another format or of a later version.
    """
    return _open(path)[0]


def load_pruned(
    path: Path, model: nn.Module | None = None, *, trust_file: bool = False
) -> nn.Module:
    """Rebuild the smaller network, in evaluation mode, on the CPU.

    Args:
        path: a file that `save_pruned` wrote.
        model: the whole architecture, for a file without an architecture's name. It is cut and
            filled in place; a copy is where it computes weights from others.
        trust_file: let the file name code: build its architecture as if the user had typed it.

    Raises:
        InputError: the file cannot be used, it names code and is not trusted, or the architecture
            does not fit it.
    """
    saved, state = _open(path)
    if model is None:
        if saved.origin.arch is None:
            raise InputError(f"{path} names no architecture; give {OWN_ARCHITECTURE}")
        arch = Trusted(saved.origin.arch) if trust_file else saved.origin.arch
        model = zoo.build(arch, saved.origin.num_labels)
    model = permanent(model).model
    if saved.origin.cut is not None:
        cut_off(model, saved.origin.cut)
    keep_positions(model, saved.kept)
    _fill(model, state, path)
    return model.eval()


def _open(path: Path) -> tuple[PrunedFile, dict[str, Tensor]]:
    """Parse and check a file."""
    tensors, metadata = read_safetensors(path)
    _check(path, metadata)
    kept: dict[AxisKey, IntArray] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{_KEPT}:"):
            kept.update([_read_kept(path, name, tensor)])
        else:
            state[name] = tensor
    values = from_json(metadata.get("origin", ""), dict[str, Any], str(path))
    notes = from_json(metadata.get("notes", ""), dict[str, str], str(path))
    return PrunedFile(Origin.from_dict(values, str(path)), kept, notes), state


def _read_kept(path: Path, name: str, tensor: Tensor) -> tuple[AxisKey, IntArray]:
    """The axis that a tensor of kept positions is of, and the positions: ascending, from 0 on."""
    parts = name.split(":", 2)
    is_named = len(parts) == 3 and parts[1].isascii() and parts[1].isdecimal()
    is_list = tensor.dtype == torch.int64 and tensor.ndim == 1 and len(tensor) > 0
    if not is_named or not is_list or int(tensor[0]) < 0 or bool((tensor.diff() <= 0).any()):
        raise InputError(
            f"{path} holds {name[:200]}; expected positions of a tensor's axis, int64, "
            "ascending and from 0 on; copy the file again, or save the network again"
        )
    return (parts[2], int(parts[1][:4])), tensor.numpy()


def _check(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != NETWORK_FORMAT:
        raise InputError(
            f"{path} holds weights, but not which filters of which architecture they are; "
            "give a model.safetensors that prune-dl wrote"
        )
    if metadata.get("version") != NETWORK_VERSION:
        raise InputError(
            f"{path} is of format version {metadata.get('version')}; this release reads "
            f"{NETWORK_VERSION}; update prune-dl"
        )


def _unique_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with each tensor once, under its first name."""
    state: dict[str, Tensor] = {}
    seen: set[Any] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach().cpu().contiguous().clone()
    return state


def _fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights; the dtype is the file's."""
    _add_biases(model, state)
    own = _unique_names(model)
    differing = sorted(own.keys() ^ state.keys())
    differing += [n for n in own if n in state and not _is_alike(own[n], state[n])]
    if differing:
        raise InputError(
            f"{path} and the architecture do not fit at {differing[0]}; give {OWN_ARCHITECTURE}"
        )
    for name, tensor in own.items():
        # A copy: memory of a file is not aligned, and kernels then round differently.
        tensor.data = state[name].to(tensor.device, copy=True)


def _is_alike(own: Tensor, stored: Tensor) -> bool:
    """Whether one can take the place of the other: numbers of one kind, of the same shape."""
    kinds = {(x.is_floating_point(), x.is_complex(), x.dtype == torch.bool) for x in (own, stored)}
    return own.shape == stored.shape and len(kinds) == 1


def _unique_names(model: nn.Module) -> dict[str, Tensor]:
    unique: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        unique.setdefault(id(tensor), (name, tensor))
    return dict(unique.values())


def _add_biases(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a layer without a bias the one that the file has for it."""
    modules = dict(model.named_modules())
    for name, tensor in state.items():
        owner, _, attribute = name.rpartition(".")
        module = modules.get(owner)
        if module is not None and module._parameters.get(attribute, tensor) is None:
            module.register_parameter(attribute, nn.Parameter(tensor.clone()))
