"""Surgery: cut filters out of a copy of a network, and keep every stated size true."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from ..errors import InputError, first_line
from .attributes import state, stated
from .caches import drop_caches
from .cut import Cut
from .units import AxisKey, IntArray

GATES = {"LSTM": 4, "GRU": 3}
"""Blocks of rows of a recurrent layer's weights, each of its hidden size; a plain one has one."""


def remove(model: nn.Module, cut: Cut) -> nn.Module:
    """A deep copy of the network without the filters that the cut removes.

    The class, names, dtype, device, memory format and `requires_grad` of what stays are the same;
    integer sizes of the modules (out_channels, num_features, ...) are true. What its code had
    cached is not copied. The input is untouched.

    Raises:
        InputError: the network cannot be copied.
    """
    smaller = copied(model)
    drop_caches(smaller, cut.structure.caches)
    keep_positions(smaller, cut.kept)
    return smaller


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of a network; tensors that it computed and cached are copied without history.

    Raises:
        InputError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model, _without_history(model))
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"a {type(model).__name__} given that cannot be copied ({first_line(error)}); "
            "expected a network that copy.deepcopy takes; "
            "keep no open files or generators as its attributes"
        ) from error


def _without_history(model: nn.Module) -> dict[int, Any]:
    """A memo for `deepcopy`, which refuses computed tensors that require a gradient."""
    values = (x for module in model.modules() for x in tree_leaves(dict(vars(module))))
    return {id(x): x.detach().clone() for x in values if isinstance(x, Tensor) and not x.is_leaf}


def keep_positions(model: nn.Module, kept: Mapping[AxisKey, IntArray]) -> None:
    """Keep only these positions of these tensor axes, in place; stated sizes follow.

    Raises:
        InputError: a name is not in the network, or a position is outside its axis.
    """
    tensors = dict(_named_tensors(model))
    kept = _state_attributes(model, kept, tensors)
    by_name: dict[str, list[tuple[int, IntArray]]] = {}
    for (name, axis), positions in kept.items():
        _check(tensors, name, axis, positions)
        by_name.setdefault(name, []).append((axis, positions))
    cut_of = {id(tensors[n]): _select(tensors[n], axes) for n, axes in by_name.items()}
    for module in model.modules():
        if _replace(module, cut_of):
            state_sizes(module)


def _state_attributes(
    model: nn.Module, kept: Mapping[AxisKey, IntArray], tensors: Mapping[str, Tensor]
) -> dict[AxisKey, IntArray]:
    """Set integer attributes (`num_heads`, `splits[0]`) to what is left; returns the tensors'."""
    modules = dict(model.named_modules())
    rest = {}
    for (name, axis), positions in kept.items():
        owner, _, attribute = name.rpartition(".")
        known = owner in modules and name not in tensors
        size = stated(modules[owner], attribute) if known else None
        if size is not None and 0 < len(positions) <= size:
            state(modules[owner], attribute, len(positions))
        else:
            rest[name, axis] = positions
    return rest


def _named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _check(tensors: Mapping[str, Tensor], name: str, axis: int, positions: IntArray) -> None:
    if name not in tensors:
        raise InputError(
            f"kept filters of {name} given; expected only tensors that the network has; "
            "give the architecture that they were computed for"
        )
    shape = tuple(tensors[name].shape)
    if axis >= len(shape) or len(positions) == 0 or int(positions.max()) >= shape[axis]:
        raise InputError(
            f"kept filters given that do not fit {name}; expected positions on axis {axis} of "
            f"shape {shape}; give the architecture that they were computed for"
        )


def _select(tensor: Tensor, axes: list[tuple[int, IntArray]]) -> Tensor:
    """The tensor with some positions only; a parameter stays one, frozen if it was."""
    smaller = tensor.detach()
    for axis, positions in axes:
        smaller = smaller.index_select(axis, torch.from_numpy(positions).to(tensor.device))
    if _channels_last(tensor):
        smaller = smaller.clone(memory_format=torch.channels_last)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(smaller, requires_grad=tensor.requires_grad)
    return smaller


def _channels_last(tensor: Tensor) -> bool:
    """By strides: a 1 x 1 or depthwise weight counts as contiguous in either memory format."""
    if tensor.ndim != 4 or tensor.is_meta:
        return False
    rows, last = (
        torch.empty(tensor.shape, device="meta", memory_format=order).stride()
        for order in (torch.contiguous_format, torch.channels_last)
    )
    return tensor.stride() == last != rows


def _replace(module: nn.Module, cut_of: Mapping[int, Tensor]) -> bool:
    """Put the cut tensors where the old ones were; tied ones stay tied."""
    replaced = False
    for table in (module._parameters, module._buffers):
        for key, old in table.items():
            if old is not None and id(old) in cut_of:
                table[key] = cut_of[id(old)]  # type: ignore[assignment]
                replaced = True
    return replaced


def state_sizes(module: nn.Module) -> None:
    """Set the integer sizes of a module to what its tensors now are."""
    weight = getattr(module, "weight", None)
    if isinstance(module, _ConvNd | nn.Linear) and weight is None:
        return  # a hook computes it at the next run
    if isinstance(module, _ConvNd):
        _state_convolution(module)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _NormBase):
        module.num_features = _first_size(module)
    elif isinstance(module, nn.GroupNorm):
        per_channel = module.num_groups == module.num_channels
        module.num_channels = int(module.weight.shape[0])
        module.num_groups = module.num_channels if per_channel else module.num_groups
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and isinstance(weight, Tensor):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.RNNBase):
        _state_recurrent(module)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = int(module.weight.numel())
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape


def _state_convolution(module: _ConvNd) -> None:
    """Channels, and the groups of a depthwise convolution, which has one for each channel."""
    rows, columns = (int(size) for size in module.weight.shape[:2])
    depthwise = module.groups == module.in_channels > 1
    if module.transposed:
        module.groups = rows if depthwise else module.groups
        module.in_channels, module.out_channels = rows, columns * module.groups
        return
    if depthwise:
        module.groups = rows // (module.out_channels // module.in_channels)
    module.in_channels, module.out_channels = columns * module.groups, rows


def _state_recurrent(module: nn.RNNBase) -> None:
    """Sizes of a recurrent layer, which its code checks, and the list of weights that it runs."""
    rows, columns = module.get_parameter("weight_ih_l0").shape
    module.input_size, module.hidden_size = columns, rows // GATES.get(module.mode, 1)
    if module.proj_size:
        module.proj_size = module.get_parameter("weight_hr_l0").shape[0]
    module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


def _first_size(module: nn.Module) -> int:
    """Length of the first vector a norm holds."""
    vectors = [*module._parameters.values(), *module._buffers.values()]
    return next(int(x.shape[0]) for x in vectors if x is not None and x.ndim == 1)
