"""Removed filters with a high SNR, and which kept filters say the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import words

LABELS_SHOWN = 5
"""Labels of a filter that a sentence names; the others are counted."""


@dataclass(frozen=True)
class AlikeFilter:
    """A kept filter that says something of what a removed one said.

    Attributes:
        filter: its index, from 0 in the original network.
        correlation: of its response with the removed filter's, -1 to 1, over images and positions.
        labels: those in its clusters.
        shared: those of them that the removed filter has in its clusters, too.
    """

    filter: int
    correlation: float
    labels: tuple[str, ...]
    shared: tuple[str, ...]


@dataclass(frozen=True)
class RemovedFilter:
    """A removed filter, and what the network still has of it.

    Attributes:
        layer, filter: where it was; the index counts from 0 in the original network.
        snr: of its averaged output field.
        labels: those in its clusters.
        reader: the layer at whose input the responses were measured.
        reproduced: R^2 of the least-squares prediction of its response from the kept channels that
            the reader sums over with it, 0 to 1, on the images that were measured.
        closest: the kept filter of its layer with the largest magnitude of correlation; None where
            none of them varies.
        sharing: kept filters of its layer with labels in common, most labels first; a few of them.
        num_sharing: how many kept filters of its layer have labels in common.
    """

    layer: str
    filter: int
    snr: float
    labels: tuple[str, ...]
    reader: str
    reproduced: float
    closest: AlikeFilter | None
    sharing: tuple[AlikeFilter, ...]
    num_sharing: int


def removed_words(removed: RemovedFilter) -> str:
    """What became of a removed filter, in a sentence or two.

    >>> like = AlikeFilter(3, 0.81, ("cat", "dog"), ("cat",))
    >>> print(removed_words(RemovedFilter("conv", 12, 9.1, ("cat",), "fc", 0.94, like, (like,), 1)))
    Filter 12 of conv (SNR 9.10, selects cat) was removed: 94.0 % of its response follows from \
the kept channels that fc reads. The kept filter closest to it is 3 (correlation 0.81, selects \
cat, dog). 1 kept filter shares labels with it: 3 (cat).
    """
    found = [
        f"Filter {removed.filter} of {removed.layer} (SNR {removed.snr:.2f}, selects "
        f"{_listed(removed.labels)}) was removed: {words.percent(removed.reproduced)} of its "
        f"response follows from the kept channels that {removed.reader} reads."
    ]
    if (near := removed.closest) is not None:
        selects = f"selects {_listed(near.labels)}" if near.labels else "selects no label"
        found.append(
            f"The kept filter closest to it is {near.filter} (correlation {near.correlation:.2f}, "
            f"{selects})."
        )
    return " ".join([*found, _sharing_words(removed)])


def _sharing_words(removed: RemovedFilter) -> str:
    count, named = removed.num_sharing, removed.sharing
    if not count:
        return "No kept filter of the layer shares labels with it."
    listed = ", ".join(f"{x.filter} ({_listed(x.shared)})" for x in named)
    before = ", most of all" if count > len(named) else ":"
    verb = "filter shares" if count == 1 else "filters share"
    return f"{count} kept {verb} labels with it{before} {listed}."


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - LABELS_SHOWN
    return ", ".join(labels[:LABELS_SHOWN]) + (f" and {more} more" if more > 0 else "")
