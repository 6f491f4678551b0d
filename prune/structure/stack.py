"""Which module is running: the place that an operation is issued from."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

CALL = nn.Module._call_impl.__code__


@dataclass(frozen=True)
class Site:
    """A line of code, the same in every instance of a class and whatever ran before it.

    Attributes:
        kind: class whose code it is: that of the innermost module which is more than a layer of
            PyTorch or a row of modules (their code fixes no sizes, that of their caller does).
        layer: path from that module to the one that runs.
        calls: code and position of each call from its `forward` on, innermost first.
        before: how many operations of this name the innermost call has issued already.
        name: the operation.
    """

    kind: str
    layer: str
    calls: tuple[tuple[int, int], ...]
    before: int
    name: str


@dataclass(frozen=True)
class _Frame:
    """A running module; `owner` counts the frames from the one whose code it runs for."""

    path: str
    module: nn.Module
    owner: int


class ModuleStack:
    """Which module is running, and which of its lines."""

    def __init__(self, model: nn.Module) -> None:
        self.ran: dict[str, None] = {}
        self._name_of = {id(module): name for name, module in model.named_modules()}
        self._frames = [_Frame("", model, 0)]
        self._last = Site("", "", (), 0, "")

    def enter(self, module: nn.Module, _args: Any) -> None:
        """A module of the traced network starts."""
        path = self._name_of.get(id(module))
        if path is not None:
            outside = len(self._frames) > 1 and _is_stock(module)
            owner = self._frames[-1].owner + 1 if outside else 0
            self._frames.append(_Frame(path, module, owner))
            self.ran.setdefault(path)

    def leave(self, module: nn.Module, _args: Any, _out: Any) -> None:
        """It ends."""
        if id(module) in self._name_of:
            self._frames.pop()

    def place(self, name: str) -> tuple[Site, str, nn.Module]:
        """Site of the operation that is being issued; path and module that are running."""
        here = self._frames[-1]
        owner = self._frames[-1 - here.owner]
        kind, layer = type(owner.module).__qualname__, here.path[len(owner.path) :]
        site = Site(kind, layer, _calls(here.owner), 0, name)
        if (site.calls, layer, name) == (self._last.calls, self._last.layer, self._last.name):
            site = Site(kind, layer, site.calls, self._last.before + 1, name)
        self._last = site
        return site, here.path, here.module

    @contextmanager
    def following(self) -> Iterator[None]:
        """Hooks that follow the running module; gone afterwards, whatever happened."""
        hooks = [
            register_module_forward_pre_hook(self.enter),
            register_module_forward_hook(self.leave),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _is_stock(module: nn.Module) -> bool:
    """A layer of PyTorch, or modules in a row."""
    layer = type(module).__module__.startswith("torch.nn.") and not module._modules
    return layer or type(module) is nn.Sequential


def _calls(modules: int) -> tuple[tuple[int, int], ...]:
    """The frames of the running module and of so many around it, innermost first."""
    frame, calls = sys._getframe(2).f_back, []
    while frame is not None and (frame.f_code is not CALL or modules):
        modules -= frame.f_code is CALL
        calls.append((id(frame.f_code), frame.f_lasti))
        frame = frame.f_back
    return tuple(calls)
