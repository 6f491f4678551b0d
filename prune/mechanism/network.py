"""The network that is measured, with all that every measurement needs to know about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..structure.units import Reader, Structure


@dataclass(frozen=True, eq=False)
class TracedNetwork:
    """A network and its structure.

    Attributes:
        model: already on `device`; measuring leaves it as it was (mode, weights, hooks).
        structure: what tracing found; its readers are what is measured.
        num_labels: K, width of the output layer; labels lie in 0..K-1.
        device: where the network runs.
    """

    model: nn.Module
    structure: Structure
    num_labels: int
    device: torch.device

    @property
    def readers(self) -> Mapping[str, Reader]:
        """By module path, in execution order."""
        return self.structure.readers

    @property
    def sums_device(self) -> torch.device:
        """Where float64 sums are kept: the CPU, unless the device is CUDA (MPS has no float64)."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")
