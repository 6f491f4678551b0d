"""Removed filters with a high SNR in sentences."""

from collections.abc import Sequence

from . import words
from .removed_filters import RemovedFilter

LABELS_SHOWN = 5
"""Labels of a filter that a sentence names; the others are counted."""


def removed_words(removed: RemovedFilter) -> str:
    """What became of a removed filter, in a sentence or two.

    >>> from prune_dl.evaluate.report.removed_filters import AlikeFilter
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
