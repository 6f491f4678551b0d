"""Names of labels as pages show them, in place of technical ones. Nothing else knows of them.

`labels` states which label an output is, and in which order; these names are for reading alone.
Where nobody gives any, WordNet ids ("n01440764", as ImageNet's folders are called) are looked up:

- all 1,000 ids of ILSVRC-2012: torchvision ships their names in the order of the ids, without the
  ids themselves, so these are compared with a hash;
- some of them, or ids of larger ImageNets: timm ships ids with names, where it is installed;
- else ids stay as they are.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .label_file import read_label_names
from .label_order import listed
from .origin import Origin

WORDNET_ID = re.compile(r"n\d{8}")
IMAGENET_IDS = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
"""SHA-256 of the 1,000 ids of ILSVRC-2012 in ascending order, a newline between them."""


def read_shown_labels(path: Path | None) -> tuple[str, ...]:
    """The names in a file; none without one.

    Raises:
        InputError: as `read_label_names`.
    """
    return () if path is None else read_label_names(path, "label_names", readable=True)


def labels_to_show(
    labels: Sequence[str], origin: Origin, given: Sequence[str] = ()
) -> tuple[str, ...]:
    """A name for each label of the data, in the order of the outputs.

    Args:
        labels: technical names. origin: knows which outputs were kept of how many.
        given: names of these labels, or of all that the network had before some were kept.

    Raises:
        InputError: another number of names.
    """
    if not given:
        return names_of_wordnet(labels)
    if len(given) == len(labels):
        return tuple(given)
    kept, whole = origin.labels_kept, origin.num_labels
    if kept and len(given) == whole:
        return tuple(given[output] for output in kept)
    expected = f"{len(labels)}, or {whole} for those before some were kept" if kept else len(labels)
    raise InputError(
        f"`label_names` given with {len(given)} names ({listed(given)}) for {len(labels)} labels "
        f"({listed(labels)}); expected {expected}, in the order of the outputs; mend the file"
    )


def names_of_wordnet(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of WordNet ids; the labels themselves where one is no id, or has no known name.

    A name that two ids share is followed by its id.

    >>> names_of_wordnet(["cat", "dog"])
    ('cat', 'dog')
    """
    if not labels or not all(WORDNET_ID.fullmatch(label) for label in labels):
        return tuple(labels)
    ordered = sorted(labels)
    if hashlib.sha256("\n".join(ordered).encode()).hexdigest() == IMAGENET_IDS:
        from torchvision.models import ResNet18_Weights

        categories = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
        name_of = dict(zip(ordered, categories, strict=True))
    else:
        name_of = _named_by_timm(labels)
    counts = Counter(name_of.get(label) for label in labels)
    if None in counts:
        return tuple(labels)
    return tuple(
        name_of[label] if counts[name_of[label]] == 1 else f"{name_of[label]} ({label})"
        for label in labels
    )


def _named_by_timm(labels: Sequence[str]) -> dict[str, str]:
    """First name of each id that timm knows; empty where it is not installed."""
    try:
        from timm.data import ImageNetInfo
    except ImportError:
        return {}
    sets = [ImageNetInfo(subset) for subset in ("imagenet-1k", "imagenet-22k")]
    lists = [(known, set(known.label_names())) for known in sets]
    return {
        label: known.label_name_to_description(label).split(",")[0]
        for label in labels
        for known, inside in reversed(lists)
        if label in inside
    }
