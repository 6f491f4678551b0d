"""What held-out images say of the labels: their order, and whether the network knows them."""

import torch
from torch import nn

from ..errors import InputError
from ..inputs.split import DataSet
from ..options import DataOptions
from .answers import Answers, collect_answers
from .label_order import BetterOrder, find_better_order
from .opened import Opened
from .plausibility import chance_notes

UNTRAINED = (
    "either it is not trained, or its images are fed in another way (`mean`, `std`, `input_size`), "
    "or its labels are others (`labels`); what is measured on it means little"
)
"""What a network near chance may have, in the options of the command."""
UNTRAINED_LIVE = (
    "either it is not trained, or your loaders scale images, or number labels, in another way than "
    "in its training; what is measured on it means little"
)
"""The same for a live network."""


def settle_labels(opened: Opened, asked: DataOptions) -> Opened:
    """The same network and data, with a note where its labels look wrong.

    An order that somebody stated, the user or the model file, is never refused.

    Raises:
        InputError: the labels are certainly in another order than the network's outputs.
    """
    data, origin = opened.data, opened.checkpoint.origin
    answers = collect_answers(opened.checkpoint.model, data, opened.device)
    if answers is None:
        return opened
    better = find_better_order(answers, data.labels)
    is_stated = bool(asked.labels or asked.label_order) or data.labels == origin.labels
    if better is not None and better.is_certain and not is_stated:
        raise InputError(
            f"`data={data.name}` given, whose labels are in another order than the network's "
            f"outputs: {better}; {_advice(better)}, or `label_order=sorted` if the present order "
            "is right"
        )
    return opened.noting(
        *(f"{note}; {UNTRAINED}" for note in chance_notes(answers)),
        *([] if better is None else [f"{_doubt(better)}; {_advice(better)}"]),
    )


def label_notes(model: nn.Module, data: DataSet, device: torch.device) -> tuple[str, ...]:
    """The same for a live network and its loaders: what has to be said of its labels, a line each.

    Nothing is refused: loaders say themselves which number a label has.
    """
    answers = collect_answers(model, data, device)
    return () if answers is None else notes_of(answers, data.labels)


def notes_of(answers: Answers, labels: tuple[str, ...]) -> tuple[str, ...]:
    """What has to be said of the labels of a live network."""
    better = find_better_order(answers, labels)
    return (
        *(f"{note}; {UNTRAINED_LIVE}" for note in chance_notes(answers)),
        *([] if better is None else [f"{_doubt(better)}; check the labels of your loaders"]),
    )


def _doubt(better: BetterOrder) -> str:
    return f"another order of the labels fits the network better: {better}"


def _advice(better: BetterOrder) -> str:
    if better.name == "natural":
        return "give `label_order=natural`"
    return "write the names to a file in that order, a line each, and give it as `labels`"
