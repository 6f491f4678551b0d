"""The proof that a removal was exact: the smaller network equals the silenced original.

To silence a unit is to set every parameter element that surgery would cut to zero: its filters,
biases, norm scales, and the weights that read it. Both networks then compute the same function
unless something mixes channels (a layer norm, a mean over channels).
"""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import first_line
from ..forward import FORWARD_ERRORS, call, evaluating, map_tensors, unfused_attention
from ..outputs import RANDOM_FORWARD, floating_outputs, largest_difference, run_to_run_difference
from .caches import restored
from .cut import Cut
from .double import InDouble

CERTIFICATE_TOLERANCE = 1e-5
"""Largest difference over largest magnitude that counts as equal.

Rounding of float32 (1.2e-7 for one operation) adds up to 2e-6 at most in torchvision's 80
classifiers (`docs/structure.md`); a filter that went by mistake changes far more.
"""


@dataclass(frozen=True)
class Certificate:
    """Whether removing was the same as silencing, on real inputs.

    Attributes:
        applies: False where a removed channel changes the others, so that no check is possible.
        max_relative_error: largest difference of the outputs over their largest magnitude; None
            when the check does not apply.
        tolerance: what it was compared with.
        reason: why it does not apply, how it failed, or in which precision it passed.
    """

    applies: bool
    max_relative_error: float | None
    tolerance: float
    reason: str

    @property
    def ok(self) -> bool:
        """False only when the check applies and failed."""
        error = self.max_relative_error
        return not self.applies or (error is not None and error <= self.tolerance)


def certify(model: nn.Module, smaller: nn.Module, cut: Cut, example_inputs: Any) -> Certificate:
    """Compare the smaller network, before any repair, with the silenced original.

    In float32; a difference above `CERTIFICATE_TOLERANCE` is measured once more in float64, where
    rounding cannot explain it. Networks and inputs are not changed, even where code of the networks
    writes into its buffers or inputs. The caller decides what a failed certificate ends with.
    """
    mixing = cut.structure.mixing
    if failed := _does_not_run(smaller, example_inputs):
        return Certificate(True, float("inf"), CERTIFICATE_TOLERANCE, failed)
    if mixing:
        first, more = mixing[0], len(mixing) - 1
        also = f" and {more} more" if more else ""
        reason = f"removed channels change the others through {first}{also}"
        return Certificate(False, None, CERTIFICATE_TOLERANCE, reason)
    error = _difference(model, smaller, cut, example_inputs, torch.float32)
    if error <= CERTIFICATE_TOLERANCE:
        return Certificate(True, error, CERTIFICATE_TOLERANCE, "equal in float32")
    failed = "the smaller network differs from the silenced original by"
    try:
        in_double = _difference(model, smaller, cut, example_inputs, torch.float64)
    except FORWARD_ERRORS as failure:
        why = (
            f"{failed} {error:.1e} in float32, and does not run in float64 ({first_line(failure)})"
        )
        return Certificate(True, error, CERTIFICATE_TOLERANCE, why)
    if in_double <= CERTIFICATE_TOLERANCE:
        return Certificate(True, in_double, CERTIFICATE_TOLERANCE, "equal in float64")
    single, inputs = _at(model, torch.float32), _copies(example_inputs, torch.float32)
    if run_to_run_difference(single, inputs) > CERTIFICATE_TOLERANCE:
        return Certificate(True, in_double, CERTIFICATE_TOLERANCE, RANDOM_FORWARD)
    reason = f"{failed} {in_double:.1e} in float64"
    return Certificate(True, in_double, CERTIFICATE_TOLERANCE, reason)


def _difference(
    model: nn.Module, smaller: nn.Module, cut: Cut, inputs: Any, dtype: torch.dtype
) -> float:
    """`largest_difference` of all outputs, in a precision."""
    model, smaller = _at(model, dtype), _at(smaller, dtype)
    with evaluating(model, smaller), unfused_attention(), _left_alone(model, smaller), _mode(dtype):
        silent = {**_buffers(model), **silenced(model, cut)}
        expected = floating_outputs(call(model, _copies(inputs, dtype), silent))
        found = floating_outputs(call(smaller, _copies(inputs, dtype), _buffers(smaller)))
    return largest_difference(expected, found)


def _does_not_run(smaller: nn.Module, inputs: Any) -> str | None:
    """Why the smaller network does not run; None where it does. Checked for every network."""
    try:
        with evaluating(smaller), _left_alone(smaller):
            call(smaller, map_tensors(Tensor.clone, inputs))
    except Exception as failure:
        return f"the smaller network does not run ({first_line(failure)})"
    return None


@contextmanager
def _left_alone(*models: nn.Module) -> Iterator[None]:
    """What code caches meanwhile, of silenced weights even, is gone afterwards."""
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(restored(model))
        yield


def _mode(dtype: torch.dtype) -> AbstractContextManager[object]:
    return InDouble() if dtype == torch.float64 else nullcontext()


def _at(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network in a precision; itself when it is already there."""
    floating = [x for x in [*model.parameters(), *model.buffers()] if x.is_floating_point()]
    if all(x.dtype == dtype for x in floating):
        return model
    return copy.deepcopy(model).to(dtype)


def _copies(inputs: Any, dtype: torch.dtype) -> Any:
    """The inputs in a precision; copies, because a network's code may write into them."""
    return map_tensors(
        lambda x: x.to(dtype, copy=True) if x.is_floating_point() else x.clone(), inputs
    )


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers, to be used in their place: code may write into those too."""
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def silenced(model: nn.Module, cut: Cut) -> dict[str, Tensor]:
    """Parameters of the original with everything that surgery would cut set to zero."""
    parameters = dict(model.named_parameters())
    silent: dict[str, Tensor] = {}
    for (name, axis), kept in cut.kept.items():
        if name in parameters:
            values = silent.get(name, parameters[name].detach())
            gone = np.setdiff1d(np.arange(values.shape[axis]), kept)
            index = torch.from_numpy(gone).to(values.device)
            silent[name] = values.index_fill(axis, index, 0)
    return silent
