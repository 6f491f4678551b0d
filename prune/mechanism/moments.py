"""Statistics of a network that needs no labels: second moments at the inputs of every reader.

Shapes: C input channels of a reader.
"""

from torch import Tensor

from ..inputs.split import Batches
from ..progress import Progress, silent
from .accumulate import Moments
from .memory import macs_per_position
from .network import TracedNetwork
from .observe import observe
from .statistics import LayerStatistics, Statistics
from .taps import as_map


def collect_moments(network: TracedNetwork, batches: Batches) -> dict[str, Tensor]:
    """The channel moments alone, reader -> (C + 1, C + 1): `Statistics.moments` without the rest.

    Raises InputError as `statistics.collect`.
    """
    return _observe_moments(network, batches, silent)[0]


def _observe_moments(
    network: TracedNetwork, batches: Batches, progress: Progress
) -> tuple[dict[str, Tensor], int]:
    """Moments of every reader that ran, and the number of images."""
    device = network.sums_device
    taps = {
        name: Moments(macs_per_position(network.model, reader), device)
        for name, reader in network.readers.items()
    }
    num_images = observe(
        network,
        network.readers,
        batches,
        lambda name, x, _: taps[name].add(as_map(x, network.readers[name])),
        progress=progress,
    )
    found = {name: tap.finish() for name, tap in taps.items() if tap.sums_CC is not None}
    return found, num_images


def collect_moment_statistics(
    network: TracedNetwork, batches: Batches, *, progress: Progress = silent
) -> Statistics:
    """Statistics without what only probes read: moments, and mean features over all positions.

    Every image counts as label 0 of one. Raises InputError as `collect`.
    """
    moments, num_images = _observe_moments(network, batches, progress)
    layers = {
        name: LayerStatistics(
            (1, 1),
            moments_CC[-1:, -1],
            moments_CC[-1:, :-1],
            moments_CC.new_zeros(0, 0),
            moments_CC,
        )
        for name, moments_CC in moments.items()
    }
    return Statistics(layers, 1, num_images)
