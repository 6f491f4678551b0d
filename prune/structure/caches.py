"""What the code of a network keeps of its last run: tensors in plain attributes, not in its state.

A cached bias, mask or grid has the widths of the network that made it. In a smaller network it is
dropped, so that the code makes it again.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


class Absent:
    """In place of a value: the attribute is not there."""


@dataclass(frozen=True)
class Cache:
    """An attribute that a run fills.

    Attributes:
        module, attribute: path of the module, and its attribute or buffer.
        before: its value before a run; `Absent` where there is none.
    """

    module: str
    attribute: str
    before: Any


def drop_caches(model: nn.Module, caches: Iterable[Cache]) -> None:
    """Put attributes back, in place, to what they are before a run."""
    modules = dict(model.named_modules())
    for cache in caches:
        module = modules.get(cache.module)
        if module is None:
            continue
        if cache.before is Absent:
            module.__dict__.pop(cache.attribute, None)
            module._buffers.pop(cache.attribute, None)
        else:
            module.__dict__[cache.attribute] = copy.deepcopy(cache.before)


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """What is done to the modules meanwhile (cuts, caches of the code) is gone afterwards."""
    states = [(module, dict(vars(module))) for module in model.modules()]
    copies: dict[int, Tensor] = {}
    for module, state in states:
        containers = {k: copy.copy(x) for k, x in state.items() if type(x) in (dict, list, set)}
        vars(module).update(containers)
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = copies.setdefault(id(buffer), buffer.clone())
    try:
        yield
    finally:
        for module, state in states:
            vars(module).clear()
            vars(module).update(state)
