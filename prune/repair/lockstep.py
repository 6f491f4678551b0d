"""Forward passes of several batches side by side: all wait at a layer until it has been solved.

Passed through a network as one, a thousand images and more take several times the memory of the
largest map: every module holds its input and its output. Side by side, batch after batch moves on
to the next layer, so that only what the layer is given is held for all of them.

A forward pass can be halted only from within, so each batch has a thread. They take turns: one runs
at a time, in a fixed order, and results do not depend on timing.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Semaphore, Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ..forward import call
from ..inputs.split import Inputs
from .samples import halting

OnLayer = Callable[[str, list[Tensor]], None]
"""Called with a layer's path and what each batch gives it, before it runs on any."""


class _Cancelled(Exception):
    """Ends a pass that is not needed any more."""


class _Pass:
    """The forward pass of one batch, in a thread that runs only within `advance`."""

    def __init__(self, model: nn.Module, batch: Inputs) -> None:
        self.model, self.batch = model, batch
        self.halted: tuple[str, Tensor] | None = None
        self.error: BaseException | None = None
        self.is_cancelled = False
        self._modes = [
            *_get_current_function_mode_stack(),  # type: ignore[no-untyped-call]
            *_get_current_dispatch_mode_stack(),
        ]
        self._go, self._stopped = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.is_cancelled:
                with torch.no_grad(), _within(self._modes):
                    call(self.model, self.batch)
        except _Cancelled:
            pass
        except BaseException as error:
            self.error = error
        self.halted = None
        self._stopped.release()

    def halt(self, layer: str, x: Tensor) -> None:
        """Called in the thread: wait at a layer."""
        self.halted = layer, x
        self._stopped.release()
        self._go.acquire()
        if self.is_cancelled:
            raise _Cancelled

    def advance(self) -> None:
        """Go on to the next layer, or to the end."""
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """End the thread, wherever it waits."""
        self.is_cancelled = True
        self._go.release()
        self._thread.join()


@contextmanager
def _within(modes: Sequence[Any]) -> Iterator[None]:
    """The modes of the thread that asked: like `no_grad`, torch keeps them for every thread apart.

    The caller may have set a default device (`with torch.device(...)`), or may look at operations.
    """
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode)
        yield


def _return_freed_memory() -> None:
    """Give what was freed back to the system, where the C library is glibc.

    It keeps a heap for every thread: without this, a gigabyte that nobody uses is held for VGG-16.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def in_lockstep(
    model: nn.Module, layers: Sequence[str], batches: Sequence[Inputs], on_layer: OnLayer
) -> None:
    """Run all batches through the network, layer by layer.

    Args:
        layers: module paths, each of which runs once in a forward pass.
        on_layer: may change the layer, which then runs as changed.
    """
    running: list[_Pass] = []
    passes = [_Pass(model, batch) for batch in batches]
    try:
        with halting(model, layers, lambda layer, x: running[0].halt(layer, x)):
            while passes:
                for one in passes:
                    running[:] = [one]
                    one.advance()
                    _return_freed_memory()
                waiting = [one.halted for one in passes if one.halted is not None]
                if not waiting:
                    return
                names = {layer for layer, _ in waiting}
                assert len(waiting) == len(passes), "each batch runs the same layers"
                assert len(names) == 1, "each batch runs the layers in the same order"
                on_layer(names.pop(), [x for _, x in waiting])
                del waiting
    finally:
        for one in passes:
            one.cancel()
