"""Everything that has to be settled about a network and its data before any work, in order."""

from ..options import DataOptions
from .channel_order import hint_channel_order
from .labels import settle_labels
from .opened import Opened
from .scale import settle_scale
from .twins import settle_twins
from .unlabeled import settle_unlabeled


def settle(opened: Opened, asked: DataOptions) -> Opened:
    """The network and its data, as the user asked, or else as held-out images say.

    Args:
        asked: what the user said is taken as it is.

    Images that nobody labelled leave with the network's answers as labels (`unlabeled.py`).

    Without held-out images nothing is settled: what needs them refuses by itself. Nor is anything
    for several labels of an image: hits decide here, and such data come ready from the user's code.
    """
    if opened.data.unlabeled:
        return settle_unlabeled(opened, asked)
    if not opened.data.held_out.num_images or opened.data.multi_label:
        return opened
    opened = hint_channel_order(settle_scale(opened, asked), asked)
    # Last: what is fed wrongly is answered wrongly.
    return settle_labels(settle_twins(opened), asked)
