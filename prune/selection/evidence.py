"""What a criterion may look at."""

from dataclasses import dataclass

from torch import nn

from ..inputs.split import Batches
from ..mechanism.spectrum import Spectrum
from ..mechanism.statistics import Statistics
from ..structure.units import Structure


@dataclass(frozen=True)
class Evidence:
    """A network, and what was measured on data, as far as there is data.

    Attributes:
        model: never changed.
        structure: of the network.
        statistics: sums over the inputs of every reader. Where they are given, the error curves of
            every criterion are those of the data.
        spectrum: the label fields of every filter.
        batches: images and labels, for gradients.
        seed: of the criterion "random" alone.
    """

    model: nn.Module
    structure: Structure
    statistics: Statistics | None = None
    spectrum: Spectrum | None = None
    batches: Batches | None = None
    seed: int = 0
