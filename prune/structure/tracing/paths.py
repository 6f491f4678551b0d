"""Does the code take another path when the values inside the network change?

Detectors do: how many boxes there are, and which operations follow, is decided by what their layers
compute. Removing a filter changes those values, so that no path stands for the network.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...forward import call
from ..caches import restored
from .op import tensors_in
from .recording import Recording
from .trial import Watcher

NUM_CHANGED_RUNS = 4
"""Runs with other weights: one branch on the sign of one number is missed once in 16 times."""
LEAST_FACTOR, FACTOR_RANGE = 0.5, 1.0
"""Weights are multiplied by 0.5 to 1.5: far more than a removal changes, and of the same sign, so
that a network of sound numbers still has sound ones."""
VECTOR_NOISE = 0.2
"""Standard deviation of what is added to vectors (biases, scales of norms). They start at 0 and 1,
and a fresh detector then finds the same boxes whatever its matrices are."""


def check_path(model: nn.Module, inputs: Any, recording: Recording) -> None:
    """Run with other weights, and compare the operations with those that were recorded.

    Raises:
        InputError: they are others, or of other sizes.
    """
    expected = [
        (record.op.name, tuple(tuple(x.shape) for x in tensors_in((record.op.out,))))
        for record in recording.records[: recording.num_counted]
    ]
    for seed in range(NUM_CHANGED_RUNS):
        seen = _seen(model, inputs, seed)
        if seen is not None and seen != expected:
            raise InputError(_explain(model))


def _seen(model: nn.Module, inputs: Any, seed: int) -> list[tuple[str, Any]] | None:
    """Operations and their sizes with other weights; None where the code fails on such values."""
    watcher = Watcher()
    changed = _changed(model, seed)
    with restored(model), torch.no_grad():
        try:
            with watcher:
                call(model, inputs, changed)
        except Exception:
            return None
    return [(x.name, x.shapes) for x in watcher.seen]


def _changed(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Every parameter times factors of its own, vectors moved too, and copies of the buffers."""
    generator = torch.Generator().manual_seed(seed)
    values = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        factors = LEAST_FACTOR + FACTOR_RANGE * torch.rand(parameter.shape, generator=generator)
        noise = torch.randn(parameter.shape, generator=generator) * (parameter.ndim == 1)
        factors, noise = (x.to(parameter.device, parameter.dtype) for x in (factors, noise))
        values[name] = parameter.detach() * factors + VECTOR_NOISE * noise
    return values


def _explain(model: nn.Module) -> str:
    """What is said of such a network, and which part of it may be pruned."""
    sizes = {
        name: sum(x.numel() for x in child.parameters()) for name, child in model.named_children()
    }
    part = "backbone" if "backbone" in sizes else max(sizes, key=sizes.__getitem__, default="")
    instead = "prune a part of it, and give inputs that this part takes"
    if part:
        instead = f"prune its {part} alone: give `part={part}`, or shrink that module"
    return (
        f"a {type(model).__name__} given, which branches on the values that its layers compute (as "
        "detectors do on their boxes); expected a network that runs the same operations whatever "
        f"its weights are; {instead}"
    )
