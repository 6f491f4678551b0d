"""The proof that a removal was exact: the smaller network equals the silenced original.

To silence a unit is to set every parameter element that surgery would cut to zero: its filters,
biases, norm scales, and the weights that read it. Both networks then compute the same function
unless something mixes channels (a layer norm, a mean over channels).
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..forward import call, evaluating, map_tensors, tensors_of, unfused_attention
from .cut import Cut

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
    if mixing:
        first, more = mixing[0], len(mixing) - 1
        also = f" and {more} more" if more else ""
        reason = f"removed channels change the others through {first}{also}"
        return Certificate(False, None, CERTIFICATE_TOLERANCE, reason)
    for dtype in (torch.float32, torch.float64):
        error = _difference(model, smaller, cut, example_inputs, dtype)
        if error <= CERTIFICATE_TOLERANCE:
            return Certificate(True, error, CERTIFICATE_TOLERANCE, f"equal in {str(dtype)[6:]}")
    reason = f"the smaller network differs from the silenced original by {error:.1e} in float64"
    return Certificate(True, error, CERTIFICATE_TOLERANCE, reason)


def _difference(
    model: nn.Module, smaller: nn.Module, cut: Cut, inputs: Any, dtype: torch.dtype
) -> float:
    """Largest difference over largest magnitude of any output; infinite if shapes differ."""
    model, smaller = _at(model, dtype), _at(smaller, dtype)
    with evaluating(model, smaller), unfused_attention():
        silent = {**_buffers(model), **silenced(model, cut)}
        expected = _outputs(call(model, _copies(inputs, dtype), silent))
        found = _outputs(call(smaller, _copies(inputs, dtype), _buffers(smaller)))
    if [x.shape for x in expected] != [x.shape for x in found]:
        return float("inf")
    return max((_relative(a, b) for a, b in zip(expected, found, strict=True)), default=0.0)


def _relative(expected: Tensor, found: Tensor) -> float:
    scale = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    error = float((expected - found).abs().max()) / scale
    return error if np.isfinite(error) else float("inf")


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


def _outputs(outputs: Any) -> list[Tensor]:
    """The floating-point tensors among a network's outputs."""
    return [x for x in tensors_of(outputs) if x.is_floating_point()]
