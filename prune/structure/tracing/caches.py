"""Finds what the code of a network caches, by comparing attributes before and after a run.

A network that ran before brings its caches along. They are told from constants by emptying them: a
cache is made again by the next run, and the outputs are the same.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...forward import call, map_tensors
from ...outputs import floating_outputs, largest_difference
from ..caches import Absent, Cache, drop_caches, restored

STATE = frozenset(vars(nn.Module()))
"""Attributes of every module: parameters, buffers, hooks, mode."""
SAME_OUTPUTS = 1e-5
"""Largest relative difference of two runs of which one makes its caches again: rounding."""

Attributes = Mapping[str, Mapping[str, Any]]
"""Module path -> the plain attributes of the module."""


def attributes_of(model: nn.Module) -> Attributes:
    """Plain attributes and buffers of every module, as they are now."""
    return {path: _own(module) for path, module in model.named_modules()}


def filled_since(before: Attributes, model: nn.Module) -> tuple[Cache, ...]:
    """What a run filled; of a module where it did, all that it changed (a size that is a key)."""
    return tuple(
        Cache(path, name, old.get(name, Absent))
        for path, now in attributes_of(model).items()
        for old in (before.get(path, {}),)
        for name in _changed(old, now)
        if not _tensors(old.get(name))
    )


def brought_along(model: nn.Module, inputs: Any) -> tuple[Cache, ...]:
    """Caches that the network holds already, from a run before.

    All together at first, which is the plain case; else by class and attribute.
    """
    held = [
        (path, name, type(module))
        for path, module in model.named_modules()
        for name, value in _own(module).items()
        if _tensors(value) and name not in module._buffers
    ]
    if not held:
        return ()
    expected = _run(model, inputs, ())
    kinds = dict.fromkeys((kind, name) for _, name, kind in held)
    if expected is None:
        return ()
    modules = dict(model.named_modules())

    def made_again(wanted: Iterable[tuple[type, str]], *, absent: bool) -> tuple[Cache, ...]:
        chosen = set(wanted)
        caches = tuple(
            Cache(path, name, Absent if absent else _emptied(vars(modules[path])[name]))
            for path, name, kind in held
            if (kind, name) in chosen
        )
        found = _run(model, inputs, caches)
        same = found is not None and largest_difference(expected, found) <= SAME_OUTPUTS
        return caches if same else ()

    together = made_again(kinds, absent=False)
    if together:
        return together
    alone = (made_again([kind], absent=False) or made_again([kind], absent=True) for kind in kinds)
    return tuple(cache for caches in alone for cache in caches)


def _run(model: nn.Module, inputs: Any, caches: tuple[Cache, ...]) -> list[Tensor] | None:
    """Outputs of a run without these caches; None where it fails or does not make them again."""
    with restored(model), torch.no_grad():
        drop_caches(model, caches)
        try:
            outputs = floating_outputs(call(model, map_tensors(Tensor.clone, inputs)))
        except Exception:
            return None
        modules = dict(model.named_modules())
        values = (vars(modules[cache.module]).get(cache.attribute) for cache in caches)
        return outputs if all(_tensors(value) for value in values) else None


def _own(module: nn.Module) -> dict[str, Any]:
    """Plain attributes and buffers; containers as they are now, though code may fill them later."""
    plain = {name: _copied(value) for name, value in vars(module).items() if name not in STATE}
    return {**module._buffers, **plain}


def _copied(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, dict | list | set) else value


def _changed(old: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Names that hold other values than before, if tensors are among them."""
    names = [name for name, value in now.items() if not _same(old.get(name, Absent), value)]
    if any(_tensors(now[name]) for name in names):
        yield from names


def _same(old: Any, now: Any) -> bool:
    if old is now:
        return True
    held, holds = _tensors(old), _tensors(now)
    if held or holds:
        return len(held) == len(holds) and all(a is b for a, b in zip(held, holds, strict=True))
    return type(old) is type(now) and isinstance(old, int | str | tuple | list) and old == now


def _emptied(value: Any) -> Any:
    """A container without what it holds; None in place of a tensor."""
    return type(value)() if isinstance(value, dict | list) else None


def _tensors(value: Any) -> list[Tensor]:
    return [x for x in tree_leaves(value) if isinstance(x, Tensor)]
