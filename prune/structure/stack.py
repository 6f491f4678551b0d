"""Which module is running: the place that an operation is issued from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

Site = tuple[str, int, str]
"""Class of the innermost module, position among its own operations, operation: the same line of
code in every instance of a class."""


class ModuleStack:
    """Which module is running, and how many operations it has issued itself."""

    def __init__(self, model: nn.Module) -> None:
        self.name_of = {id(module): name for name, module in model.named_modules()}
        self.frames: list[tuple[str, str]] = []
        self.running: list[nn.Module] = [model]
        self.counts: list[int] = []
        self.ran: dict[str, None] = {}

    def enter(self, module: nn.Module, _args: Any) -> None:
        """A module of the traced network starts."""
        if id(module) in self.name_of:
            self.frames.append((self.name_of[id(module)], type(module).__qualname__))
            self.counts.append(0)
            self.running.append(module)
            self.ran.setdefault(self.frames[-1][0])

    def leave(self, module: nn.Module, _args: Any, _out: Any) -> None:
        """It ends."""
        if id(module) in self.name_of:
            self.frames.pop()
            self.running.pop()
            self.counts.pop()

    def place(self, name: str) -> tuple[Site, str]:
        """Site and module path of the operation that is being issued."""
        path, kind = self.frames[-1] if self.frames else ("", "")
        count = self.counts[-1] if self.counts else 0
        if self.counts:
            self.counts[-1] += 1
        return (kind, count, name), path

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
