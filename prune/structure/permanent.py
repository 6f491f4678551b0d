"""Weights that are computed from others are computed once, and kept: nothing recomputes them.

Weight norm, spectral norm, orthogonal maps and every other `torch.nn.utils.parametrize`
parametrization, the hooks of older PyTorch, the masks of `torch.nn.utils.prune`. A filter that goes
would change what they compute for the filters that stay (the norm of a row or of a matrix), so that
removing would not be silencing. The layers compute the same as before, and are plain ones.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..forward import evaluating
from .converted import Converted
from .surgery import copied

MASK = "a mask of torch.nn.utils.prune"
NAMES = {
    "_WeightNorm": "weight norm",
    "_SpectralNorm": "spectral norm",
    "_Orthogonal": "an orthogonal parametrization",
}
"""What PyTorch's own parametrizations are called; others go by the name of their class."""
PARAMETRIZED = "parametrizations"
"""Where `torch.nn.utils.parametrize` keeps what computes the tensors of a module."""


def permanent(model: nn.Module) -> Converted:
    """The network itself if no weight is computed, else a copy with the weights as they are now.

    Raises:
        InputError: it has such weights and cannot be copied.
    """
    if not any(map(_kinds, model.modules())):
        return Converted(model)
    plain = copied(model)
    kinds = Counter(kind for module in plain.modules() for kind in _kinds(module))
    with evaluating(plain):  # spectral norm moves its estimates in training
        for module in list(plain.modules()):
            _keep_hooked(module)
            _keep_parametrized(module)
    return Converted(plain, tuple(_note(kind, count) for kind, count in kinds.items()))


def _note(kind: str, num_tensors: int) -> str:
    what = f"{kind} of {num_tensors} " + ("tensor" if num_tensors == 1 else "tensors")
    after = "zeros may change when it is retrained" if kind == MASK else "register it again"
    return f"{what} was made permanent: the network is delivered with plain weights; {after}"


def _kinds(module: nn.Module) -> tuple[str, ...]:
    """What computes the tensors of a module: a name for each tensor and step."""
    lists = module._modules.get(PARAMETRIZED) if parametrize.is_parametrized(module) else None
    steps = [] if lists is None else [x for one in lists.children() for x in one.children()]
    made = (type(x).__name__ for x in steps)
    return (*(NAMES.get(x, x) for x in made), *(kind for _, kind, _ in _hooks(module)))


def _hooks(module: nn.Module) -> list[tuple[str, str, Callable[[], Any]]]:
    """Hooks that compute a tensor before every run: its name, the kind, and how it is kept."""
    found: list[tuple[str, str, Callable[[], Any]]] = []
    for key, hook in module._forward_pre_hooks.items():
        remove: Callable[[], Any]
        if isinstance(hook, WeightNorm):
            remove = partial(_remove_weight_norm, module, key, hook)
            found.append((hook.name, NAMES["_WeightNorm"], remove))
        elif isinstance(hook, SpectralNorm):
            remove = partial(remove_spectral_norm, module, hook.name)
            found.append((hook.name, NAMES["_SpectralNorm"], remove))
        elif isinstance(hook, prune.BasePruningMethod):
            name = hook._tensor_name
            found.append((name, MASK, partial(prune.remove, module, name)))
    return found


def _remove_weight_norm(module: nn.Module, key: int, hook: WeightNorm) -> None:
    hook.remove(module)
    del module._forward_pre_hooks[key]


def _keep_hooked(module: nn.Module) -> None:
    """Drop the hooks; what they computed becomes a parameter, frozen if all it came from was."""
    for name, _, remove in _hooks(module):
        sources = (module._parameters.get(f"{name}_{end}") for end in ("orig", "g", "v"))
        needs = any(x.requires_grad for x in sources if x is not None)
        remove()
        module.get_parameter(name).requires_grad_(needs)


def _keep_parametrized(module: nn.Module) -> None:
    """Compute each parametrized tensor once more and register it under its name.

    Not by `parametrize.remove_parametrizations`, which takes the property off the class: a copy
    shares that class with the network that it was copied from.
    """
    if not parametrize.is_parametrized(module):
        return
    lists = module._modules[PARAMETRIZED]
    assert lists is not None
    made: dict[str, tuple[Tensor, list[nn.Parameter]]] = {}
    for name, steps in lists.named_children():
        with torch.no_grad():
            made[name] = (getattr(module, name).detach().clone(), list(steps.parameters(False)))
    del module._modules[PARAMETRIZED]
    module.__class__ = type(module).__bases__[0]
    for name, (value, sources) in made.items():
        _register(module, name, value, sources)


def _register(module: nn.Module, name: str, value: Tensor, sources: list[nn.Parameter]) -> None:
    """A parameter if it came from parameters, else a buffer."""
    if sources:
        needs = any(x.requires_grad for x in sources)
        module.register_parameter(name, nn.Parameter(value, requires_grad=needs))
    else:
        module.register_buffer(name, value)
