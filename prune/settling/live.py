"""What held-out batches of a user's own loaders tell of the labels.

Shapes: N images.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..inputs.split import output_names
from .answers import answers_of
from .labels import notes_of
from .opened import SETTLING_IMAGES
from .unlabeled import notes_of_answers


def split_first(batches: Iterable[Any]) -> tuple[list[Any], Iterable[Any]]:
    """The first `SETTLING_IMAGES` images in batches; and all of them, which come only once."""
    rest, taken = iter(batches), list[Any]()
    while sum(len(labels_N) for _, labels_N in taken) < SETTLING_IMAGES:
        batch = next(rest, None)
        if batch is None:
            break
        taken.append(batch)
    return taken, (batch for part in (taken, rest) for batch in part)


def warn_of_labels(
    model: nn.Module, batches: list[Any], num_labels: int, *, unlabeled: bool
) -> None:
    """Say, as Python's warnings to the caller's caller, what held-out batches tell of labels."""
    labels = output_names(num_labels)
    notes: tuple[str, ...] = ()
    if unlabeled and batches:
        notes = notes_of_answers(torch.cat([answers_N.cpu() for _, answers_N in batches]), labels)
    elif not unlabeled:
        answers = answers_of(model, [batches], num_labels, "held-out images")
        notes = () if answers is None else notes_of(answers, labels)
    for note in notes:
        warnings.warn(note, stacklevel=3)
