"""Everything that has to be settled about a network and its data before any work, in order."""

from ..options import DataOptions
from .labels import settle_labels
from .opened import Opened
from .transform_input import settle_transform_input
from .twins import settle_twins


def settle(opened: Opened, asked: DataOptions) -> Opened:
    """The network and its data, as the user asked, or else as held-out images say.

    Args:
        asked: what the user said is taken as it is.

    Without held-out images nothing is settled: what needs them refuses by itself.
    """
    if not opened.data.held_out.num_images:
        return opened
    opened = settle_twins(settle_transform_input(opened))
    return settle_labels(opened, asked)  # last: what is fed wrongly is answered wrongly
