"""Run a network and look inside it, leaving no trace: the one way in which the product does so.

Evaluation mode is set for every module and given back to each of them (a batch norm that the user
froze stays frozen), no gradient is recorded, and hooks are gone afterwards, also after an error.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter, tree_map

Arguments = tuple[Any, ...]
Before = Callable[[str, Arguments, dict[str, Any]], None]
"""Called with a layer's path, and the arguments it is about to run with."""
After = Callable[[str, Arguments, dict[str, Any], Any], None]
"""The same with its output, once it has run."""
FORWARD_ERRORS = (
    *(RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError),
)
"""What a forward pass ends with where the network and its inputs do not fit each other."""


def call(model: nn.Module, inputs: Any, parameters: Mapping[str, Tensor] | None = None) -> Any:
    """Run a network once.

    Args:
        inputs: a tensor, a tuple or list of arguments, or a dictionary of named arguments. An
            argument that is itself a list or a dictionary stands in a tuple: `({...},)`.
        parameters: values to use in place of the network's own, by the names of parameters or
            buffers; None for none.

    >>> call(nn.Identity(), [torch.ones(2)])
    tensor([1., 1.])
    >>> call(nn.Identity(), ({"image": 1},))
    {'image': 1}
    """
    arguments, named = arguments_of(inputs)
    if parameters is None:
        return model(*arguments, **named)
    with _in_place_of_own(model, parameters):
        return model(*arguments, **named)


@contextmanager
def _in_place_of_own(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Values where parameters and buffers stand, under all of their names, for the block.

    `torch.func.functional_call` does not put back those of a module that has two names.
    """
    own: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    own |= dict(model.named_buffers(remove_duplicate=False))
    by_tensor = {id(own[name]): value for name, value in values.items()}
    places = [
        (store, attribute, tensor)
        for module in model.modules()
        for store in (module._parameters, module._buffers)
        for attribute, tensor in store.items()
        if id(tensor) in by_tensor
    ]
    try:
        for store, attribute, tensor in places:
            store[attribute] = by_tensor[id(tensor)]  # type: ignore[assignment]
        yield
    finally:
        for store, attribute, tensor in places:
            store[attribute] = tensor  # type: ignore[assignment]


def call_on_copies(model: nn.Module, inputs: Any) -> Any:
    """`call` on copies of inputs and buffers: a network's code may write into them."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return call(model, map_tensors(Tensor.clone, inputs), buffers)


def arguments_of(inputs: Any) -> tuple[Arguments, dict[str, Any]]:
    """What `call` hands to a network: by position, and by name."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}


def map_tensors(function: Callable[[Tensor], Tensor], inputs: Any) -> Any:
    """The same inputs of a network, with every tensor replaced by what the function makes of it.

    >>> map_tensors(lambda x: x + 1, {"image": torch.zeros(2), "size": 3})
    {'image': tensor([1., 1.]), 'size': 3}
    """
    whole = dict(inputs) if isinstance(inputs, Mapping) else inputs
    return tree_map(lambda x: function(x) if isinstance(x, Tensor) else x, whole)


def batch_size_of(inputs: Any) -> int:
    """Images of a batch: the first axis of its first tensor that has axes.

    >>> batch_size_of({"scale": torch.tensor(2.0), "image": torch.ones(4, 3)})
    4
    """
    return next(len(x) for x in tensors_of(inputs) if x.ndim)


def first_rows(inputs: Any, count: int) -> Any:
    """The first images of a batch, in all of its tensors that hold one row for each.

    >>> first_rows((torch.ones(4, 3), torch.ones(4)), 2)[1].shape
    torch.Size([2])
    """
    size = batch_size_of(inputs)
    return map_tensors(lambda x: x[:count] if x.ndim and len(x) == size else x, inputs)


def on_device(inputs: Any, device: torch.device | str) -> Any:
    """Inputs of a network there, floating ones as float32: what the networks are."""
    return map_tensors(
        lambda x: x.to(device, torch.float32 if x.is_floating_point() else x.dtype), inputs
    )


def channels_last(inputs: Any) -> Any:
    """Images (N, C, H, W) laid out as fast convolutions read them; all else as it is."""
    layout = torch.channels_last
    return map_tensors(lambda x: x.contiguous(memory_format=layout) if x.ndim == 4 else x, inputs)


def tensors_of(outputs: Any) -> list[Tensor]:
    """Tensors of an output: pytrees, and objects that hold tensors as attributes."""
    found = []
    for leaf in tree_iter(outputs):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__"):
            found += [x for x in tree_iter(dict(vars(leaf))) if isinstance(x, Tensor)]
    return found


def input_of(arguments: Arguments, named: Mapping[str, Any]) -> Any:
    """What a layer of one input was called with, whether by position or by name."""
    return arguments[0] if arguments else next(iter(named.values()))


@contextmanager
def evaluating(*models: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Evaluation mode, without gradients unless asked for; every module gets its own mode back."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training


@contextmanager
def unfused_attention() -> Iterator[None]:
    """`nn.MultiheadAttention` runs its layers one by one; its fused path hides them from hooks."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


def change_outputs(model: nn.Module, change: Callable[[nn.Module, Any, Any], Any]) -> None:
    """From now on a network, and every copy of it, gives what `change` makes of its outputs.

    Args:
        change: (network, arguments, outputs) -> what it gives instead; it must be picklable.
    """
    model.register_forward_hook(change)


@contextmanager
def watching(
    model: nn.Module,
    layers: Iterable[str],
    *,
    before: Before | None = None,
    after: After | None = None,
) -> Iterator[None]:
    """For the length of the block, tell of every run of these layers (module paths), once each.

    The network is in evaluation mode meanwhile. `before` may change the layer: it then runs as it
    was left. What it raises ends the forward pass, and comes out of the block.
    """
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(unfused_attention())
        for layer in dict.fromkeys(layers):
            module = model.get_submodule(layer)
            if before is not None:
                hook = module.register_forward_pre_hook(_pre_hook(layer, before), with_kwargs=True)
                stack.callback(hook.remove)
            if after is not None:
                hook = module.register_forward_hook(_hook(layer, after), with_kwargs=True)
                stack.callback(hook.remove)
        yield


def _pre_hook(layer: str, before: Before) -> Callable[..., None]:
    return lambda _, arguments, named: before(layer, arguments, named)


def _hook(layer: str, after: After) -> Callable[..., None]:
    return lambda _, arguments, named, output: after(layer, arguments, named, output)
