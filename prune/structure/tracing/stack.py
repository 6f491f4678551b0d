"""Which module is running: the place that an operation is issued from."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from .stated import names_in

CALL = nn.Module._call_impl.__code__
Calls = tuple[tuple[int, int], ...]
"""Code and position in it of Python calls, innermost first."""


@dataclass(frozen=True, eq=False)
class Running:
    """A module that runs.

    Attributes:
        path, kind: its path and class.
        is_stock: a layer of PyTorch or a row of modules: its code fixes no sizes.
        caller: the module whose code called it; None for the network itself.
        called: from where in the caller's `forward`.
    """

    path: str
    kind: str
    is_stock: bool
    caller: "Running | None"
    called: Calls


@dataclass(frozen=True)
class Place:
    """Where an operation was issued.

    Attributes:
        running: the innermost module.
        calls: from where in its `forward`.
        before: how many operations of this name the innermost call had issued already.
        name: the operation.
    """

    running: Running
    calls: Calls
    before: int
    name: str

    def seen_from(self, height: int) -> tuple[object, ...]:
        """What is the same in every instance of the class of the module so far up."""
        owner, chain = self.running, [self.calls]
        for _ in range(height):
            if owner.caller is None:
                return (owner.kind, chain, height)  # not so deep: like no other
            chain.append(owner.called)
            owner = owner.caller
        layer = self.running.path[len(owner.path) :]
        return (owner.kind, layer, tuple(chain), self.before, self.name)


class Position(NamedTuple):
    """What is known of an operation that is being issued.

    Attributes:
        place: where that is.
        module, called_with: the running module, and the arguments that it was called with.
        names: that its code uses.
    """

    place: Place
    module: nn.Module
    called_with: Any
    names: frozenset[str]


def common_owner(place: Place, culprit: Place) -> tuple[int, Running]:
    """The module whose code leads to both, and how far up it is from `place`.

    Not a layer of PyTorch: what goes wrong in one lies in the code that calls it.
    """
    around = {id(x) for x in _callers(culprit.running)}
    for height, owner in enumerate(_callers(place.running)):
        if owner.caller is None or (id(owner) in around and not owner.is_stock):
            return height, owner
    raise AssertionError("every module is called by the network itself")


def _callers(running: Running) -> Iterator[Running]:
    """A module and those around it."""
    owner: Running | None = running
    while owner is not None:
        yield owner
        owner = owner.caller


class ModuleStack:
    """Which module is running, and which of its lines."""

    def __init__(self, model: nn.Module) -> None:
        self.ran: dict[str, None] = {}
        self._name_of = {id(module): name for name, module in model.named_modules()}
        root = Running("", type(model).__qualname__, _is_stock(model), None, ())
        self._frames: list[tuple[Running, nn.Module, Any]] = [(root, model, ())]
        self._last = Place(root, (), 0, "")
        self._names_of: dict[tuple[type, Calls], frozenset[str]] = {}

    def enter(self, module: nn.Module, args: Any) -> None:
        """A module of the traced network starts."""
        path = self._name_of.get(id(module))
        if path is not None:
            called = _calls(_caller_of(sys._getframe(1)))
            kind, caller = type(module).__qualname__, self._frames[-1][0]
            running = Running(path, kind, _is_stock(module), caller, called)
            self._frames.append((running, module, args))
            self.ran.setdefault(path)

    def leave(self, module: nn.Module, _args: Any, _out: Any) -> None:
        """It ends."""
        if id(module) in self._name_of:
            self._frames.pop()

    def position(self, name: str) -> Position:
        """Where the operation that is being issued comes from."""
        running, module, args = self._frames[-1]
        frame, last = sys._getframe(2), self._last
        calls = _calls(frame)
        again = last.running is running and last.calls == calls and last.name == name
        self._last = Place(running, calls, last.before + 1 if again else 0, name)
        return Position(self._last, module, args, self._names(type(module), calls, frame))

    def _names(self, kind: type, calls: Calls, frame: FrameType) -> frozenset[str]:
        """Names that the code down to a frame uses; of a line that was seen before, as before."""
        key = (kind, calls)
        if key not in self._names_of:
            self._names_of[key] = names_in(kind, _codes(frame))
        return self._names_of[key]

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


def _caller_of(frame: FrameType | None) -> FrameType | None:
    """The frame that called the module which runs in `frame`."""
    while frame is not None and frame.f_code is not CALL:
        frame = frame.f_back
    return None if frame is None else frame.f_back


def _calls(frame: FrameType | None) -> Calls:
    """The calls down to a frame from the `forward` that it belongs to."""
    calls = []
    while frame is not None and frame.f_code is not CALL:
        calls.append((id(frame.f_code), frame.f_lasti))
        frame = frame.f_back
    return tuple(calls)


def _codes(frame: FrameType | None) -> list[CodeType]:
    """The code that runs down to a frame from the `forward` that it belongs to."""
    codes = []
    while frame is not None and frame.f_code is not CALL:
        if frame.f_code.co_filename != CALL.co_filename:  # not the call of the module itself
            codes.append(frame.f_code)
        frame = frame.f_back
    return codes
