"""The layers of a recording: convolution and linear modules, and raw parameters used like those."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..choice import ASKED, Choice
from ..units import AxisKey, IntArray
from .kernels import COMPUTED_KERNEL, MATRIX, Kernel
from .recording import Recording
from .tags import Components, axes_of, flat

TOGETHER = "its filters go together with those of "
ALONE = "its filters can only go all together, and a layer is never emptied"
OUTPUT = "it is the output of the network"
SPATIAL = "it is a spatial axis of a convolution"
SINGLE = "it has a single filter"
NOT_RUN = "it does not run on these inputs"
COMPUTED = "its weight is computed from other tensors before every run"


@dataclass(frozen=True)
class TracedLayer:
    """A convolution or linear layer that ran, with the axes of its weight.

    Attributes:
        name: path of the module, or name of the raw parameter.
        module: None for a raw parameter.
        weight: name of the parameter.
    """

    name: str
    module: nn.Module | None
    weight: str
    out_axis: int
    in_axis: int
    num_filters: int


def layers_of(model: nn.Module, recording: Recording) -> list[TracedLayer]:
    """Layers whose weight took part, in execution order."""
    canonical = {id(p): name for name, p in model.named_parameters()}
    order = {name: index for index, name in enumerate(recording.modules)}
    last = len(order)  # of layers whose weight is used but which never run themselves
    found = []
    for name, module in _modules(model):
        weight = module._parameters.get("weight")
        if weight is not None and canonical[id(weight)] in recording.tensors:
            out = 1 if isinstance(module, _ConvNd) and module.transposed else 0
            width = _width(module)
            found.append(TracedLayer(name, module, canonical[id(weight)], out, 1 - out, width))
    first_use = {name: index for index, name in enumerate(recording.tensors)}
    found.sort(key=lambda x: (order.get(x.name, last), first_use[x.weight]))
    for raw in _raw_layers(model, recording, {x.weight for x in found}):
        later = (i for i, x in enumerate(found) if first_use[x.weight] > first_use[raw.weight])
        found.insert(next(later, len(found)), raw)
    return found


def widths_of(model: nn.Module, layers: list[TracedLayer]) -> dict[str, int]:
    """Filters of every layer, also of those that took no part."""
    widths = {layer.name: layer.num_filters for layer in layers}
    return {**widths, **{name: _width(module) for name, module in _modules(model)}}


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Convolution and linear modules."""
    return ((n, x) for n, x in model.named_modules() if isinstance(x, _ConvNd | nn.Linear))


def _width(module: nn.Module) -> int:
    if isinstance(module, _ConvNd):
        return int(module.out_channels)
    assert isinstance(module, nn.Linear)
    return int(module.out_features)


def _raw_layers(model: nn.Module, recording: Recording, taken: set[str]) -> list[TracedLayer]:
    """Parameters that are weights but of no convolution or linear module."""
    shapes = {name: tuple(x.shape) for name, x in model.named_parameters()}
    found: dict[str, TracedLayer] = {}
    computed = _in_computed_kernels(recording)
    for kernel in recording.kernels:
        name = kernel.parameter
        if kernel.written is None or name in taken or name in found or name not in shapes:
            continue
        if (computed == flat(kernel.written)[0]).any():
            continue  # a table of kernels (of experts), whose columns are no filters
        axis = _written_axis(recording, kernel)
        if axis not in (0, 1):
            continue
        if len(shapes[name]) == MATRIX or kernel.where.partition(" ")[0].endswith("convolution"):
            found[name] = TracedLayer(name, None, name, axis, 1 - axis, shapes[name][axis])
    return list(found.values())


def _in_computed_kernels(recording: Recording) -> IntArray:
    """Tags of weights of convolutions that are computed, by mixtures of experts for one."""
    found = (_of(x) for x in recording.kernels if x.parameter == COMPUTED_KERNEL)
    return np.concatenate([np.empty(0, dtype=np.int64), *map(flat, found)])


def _of(kernel: Kernel) -> Tensor:
    assert kernel.written is not None
    return kernel.written


def _written_axis(recording: Recording, kernel: Kernel) -> int | None:
    """The axis of the parameter that the tags of the result are on."""
    if kernel.written is None:
        return None
    for field in recording.tensors.get(kernel.parameter, ()):
        if len(axes_of(field)) == 1 and np.isin(flat(kernel.written), flat(field)).all():
            return next(iter(axes_of(field)))
    return None


def keep_chosen(model: nn.Module, recording: Recording, choice: Choice) -> None:
    """Pin the filters of the layers that are to stay whole, and what goes together with them."""
    for layer in layers_of(model, recording):
        if choice.stays(layer.name):
            for field in recording.tensors[layer.weight]:
                if layer.out_axis in axes_of(field):
                    recording.tags.pin(field, f"{TOGETHER}{layer.name}, {ASKED}")


def kept_whole(
    axes: Mapping[AxisKey, IntArray],
    component_of: Mapping[AxisKey, IntArray],
    components: Components,
    layers: list[TracedLayer],
) -> dict[str, str]:
    """Why some or all filters of a layer stay."""
    reasons: dict[str, str] = {}
    for layer in layers:
        key = (layer.weight, layer.out_axis)
        own = component_of.get(key, np.empty(0, dtype=np.int64))
        units = axes.get(key, np.full(len(own), -1, dtype=np.int64))
        stay = own[units < 0]
        if len(own) == 0:
            reasons[layer.name] = SINGLE
        elif len(stay):
            reason = components.reason(int(stay[0])) or ALONE
            share = "" if len(stay) == len(own) else f"{len(stay)} of {len(own)} filters: "
            reasons[layer.name] = share + reason
    return reasons


def other_reasons(
    model: nn.Module,
    recording: Recording,
    components: Components,
    axes: Mapping[AxisKey, IntArray],
    layers: list[TracedLayer],
) -> dict[str, str]:
    """Why layers that took no part stay, and parameters that are multiplied but are no layers."""
    named = {layer.name for layer in layers}
    reasons = {
        name: COMPUTED if module._parameters.get("weight") is None else NOT_RUN
        for name, module in _modules(model)
        if name not in named
    }
    explained = {layer.weight for layer in layers} | {name for name, _ in axes}
    open_ones = {name for name, _ in model.named_parameters()} - explained
    for kernel in recording.kernels:
        name = kernel.parameter
        if name in open_ones and name not in reasons:
            pinned = _first_reason(recording.tensors.get(name, ()), components)
            reasons[name] = pinned or f"it has no filters: {kernel.where} multiplies it"
    return reasons


def _first_reason(fields: tuple[Tensor, ...], components: Components) -> str | None:
    """Why a parameter stays: the reason of the first of its axes that is pinned."""
    reasons = (components.reason(int(c)) for x in fields for c in components.of(x)[:1])
    return next((reason for reason in reasons if reason is not None), None)
