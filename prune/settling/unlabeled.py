"""What is settled about a network and images that nobody labelled, and their answers.

Labels tell which way of feeding a network is right. Without them the first batch normalisation
tells it (`drift`); size, order of the channels and twins of an architecture are not tried.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from ...evaluate.measure.accuracy import EVALUATION_BATCH
from ..errors import FED_AS_TRAINED, InputError
from ..forward import call
from ..inputs.answered import with_answers
from ..inputs.split import DataSet, Source
from ..options import DataOptions
from .drift import first_norm, observed
from .opened import SETTLING_IMAGES, Opened
from .scale import is_open, scale_trials
from .transform_input import in_state
from .trials import (
    CLEAR_DRIFT,
    FINALISTS,
    SCREENING_IMAGES,
    InputTrial,
    Sample,
    fed_batches,
    take_sample,
)
from .twins import TWINS

Drift = tuple[InputTrial, float]
"""One way of feeding the network, and how far its first normalisation is from it, nats."""
SAME_DRIFT = 1e-3
"""Share by which two drifts must differ to be of two functions: a network that rescales its inputs
makes two scales equal."""
MOSTLY_ONE = 0.95
"""Share of one answer from which on the others are few."""
OWN_ANSWERS = (
    "no labels: the network's own answers stand in their place; fidelity is the share of images "
    "with its answer, and says nothing of how often that is right"
)


def settle_unlabeled(opened: Opened, asked: DataOptions) -> Opened:
    """The network, fed as the user or its file says or else as its first normalisation tells, and
    the data with its answers as labels.

    Raises:
        InputError: it gives all images the same answer, or the data label their images themselves.
    """
    if opened.data.multi_label and opened.checkpoint.origin.num_labels == 1:
        raise InputError(
            "`multi_label` given for a network of one output, which tells two labels apart; "
            "leave it out"
        )
    if opened.data.held_out.num_images:
        opened = _note_twins(settle_scale_by_drift(opened, asked))
    data = with_answers(opened.data, opened.checkpoint.model, opened.device)
    return replace(opened, data=data).noting(OWN_ANSWERS, *answer_notes(data))


def settle_scale_by_drift(opened: Opened, asked: DataOptions) -> Opened:
    """The scale, and the state of a network's switch, of least drift; or a guess, which is told."""
    trials = scale_trials(opened, asked)
    if len(trials) == 1:
        return opened
    norm = first_norm(opened.checkpoint.model)
    if norm is None:
        return _guessed(opened, trials[0])
    sample = take_sample(opened.data)
    found = _by_drift(opened, norm, sample, trials)
    best, drift = found[0]
    figures = f"{drift:.2g} nats from what the first batch normalization remembers"
    opened = _in_best_state(opened, found, figures)
    if not is_open(opened):
        return opened
    others = [
        one
        for one in found[1:]
        if (one[0].mean, one[0].std) != (best.mean, best.std)
        and abs(one[1] - drift) > SAME_DRIFT * max(one[1], drift)
    ]
    words = f"{best.name}, {figures} on {len(sample)} held-out images"
    if others:
        words += f", next best {others[0][0].name} {others[0][1]:.2g}"
    data = opened.data.scaled(best.mean, best.std).sourced(scale=Source(words))
    opened = replace(opened, data=data)
    if not others or drift * CLEAR_DRIFT < others[0][1]:
        return opened
    return opened.noting(
        f"nobody says which mean and std the network was trained with, and there are no labels to "
        f"try them on: {best.name} are taken ({figures}), but {others[0][0].name} "
        f"({others[0][1]:.2g} nats) may be the right ones; give `mean` and `std` if you know them"
    )


def _guessed(opened: Opened, trial: InputTrial) -> Opened:
    data = opened.data.scaled(trial.mean, trial.std).sourced(
        scale=Source(f"{trial.name}: a guess, which nothing tells without labels")
    )
    return replace(opened, data=data).noting(
        "nobody says which mean and std the network was trained with, and without labels and "
        f"without batch normalization nothing tells: {trial.name} are a guess, and if it is wrong "
        "the network is pruned for other inputs than it will see; give `mean` and `std`"
    )


def _by_drift(
    opened: Opened, norm: str, sample: Sample, trials: Sequence[InputTrial]
) -> list[Drift]:
    """Trials of least drift on all images, best first; the others dropped on the first ones."""
    some = torch.arange(len(sample))[:: max(1, len(sample) // SCREENING_IMAGES)]
    screened = _sorted_drifts(opened, norm, trials, sample.images[some])
    left = [trial for trial, _ in screened[:FINALISTS]]
    return _sorted_drifts(opened, norm, left, sample.images)


def _sorted_drifts(
    opened: Opened, norm: str, trials: Sequence[InputTrial], images: Tensor
) -> list[Drift]:
    found = [(trial, _drift(opened, norm, trial, images)) for trial in trials]
    return sorted(found, key=lambda one: one[1])  # ties keep the likeliest first


def _drift(opened: Opened, norm: str, trial: InputTrial, images: Tensor) -> float:
    model: nn.Module = opened.checkpoint.model
    if trial.transform_input is not None:
        model.transform_input = trial.transform_input  # type: ignore[assignment]
    with observed(model, norm) as moments:
        for batch in fed_batches(images, trial, opened.device):
            call(model, batch)
    drift = moments.drift_from(model.get_submodule(norm))
    return float("inf") if drift is None else drift


def _in_best_state(opened: Opened, found: Sequence[Drift], figures: str) -> Opened:
    state = found[0][0].transform_input
    if state is None:
        return opened
    words = "on" if state else "off"
    return in_state(opened, state).noting(
        "the file does not say whether the network rescales its inputs (`arch` can): "
        f"{words}, {figures}"
    )


def _note_twins(opened: Opened) -> Opened:
    """A note where the weights fit another architecture too, which labels would tell."""
    arch = opened.checkpoint.origin.arch or ""
    twins = TWINS.get(arch, ()) if opened.checkpoint.is_inferred and find_spec("timm") else ()
    if not twins:
        return opened
    return opened.noting(
        f"the weights fit {arch} and {' and '.join(twins)}, and without labels nothing tells them "
        "apart: the first is taken; give `arch` if it is another"
    )


def answer_notes(data: DataSet) -> tuple[str, ...]:
    """What has to be said of the network's answers to a few hundred images, a line each.

    Args:
        data: with its answers as labels.

    Raises:
        InputError: they are all the same: there is nothing to select among.
    """
    return notes_of_answers(_some_answers(data), data.labels)


def notes_of_answers(answers_N: Tensor, labels: Sequence[str]) -> tuple[str, ...]:
    """The same of answers (N,), or (N, K) of 0 and 1, to labels of these names."""
    count, num_labels = len(answers_N), len(labels)
    kinds = torch.unique(answers_N, dim=0)
    if count and len(kinds) < 2:
        raise InputError(
            f"{count} images given, all with the network's answer {_words(kinds, labels)}; "
            "expected two answers at least, which filters select among; give other images, or "
            f"{FED_AS_TRAINED}"
        )
    if answers_N.ndim == 2:
        answered_K = answers_N.sum(dim=0)
    else:
        answered_K = torch.bincount(answers_N, minlength=num_labels)
    notes = []
    if (found := int((answered_K > 0).sum())) < num_labels:
        notes.append(
            f"the network answers {count} images with {found} of its {num_labels} labels: nothing "
            "is measured for the others, and pruning or retraining may cost them"
        )
    most = int(answered_K.argmax())
    if answers_N.ndim == 1 and int(answered_K[most]) >= MOSTLY_ONE * count:
        notes.append(
            f"the network answers {labels[most]} for {100 * int(answered_K[most]) / count:.1f}"
            f" % of {count} images: what its filters select is measured on the few others"
        )
    return tuple(notes)


def _some_answers(data: DataSet) -> Tensor:
    """Answers to `SETTLING_IMAGES` images, held-out ones first."""
    labels = list[Tensor]()
    left = SETTLING_IMAGES
    for part in (data.held_out, data.train):
        limit = min(left, part.num_images)
        if limit:
            batches = part.batches(EVALUATION_BATCH, device="cpu", limit=limit)
            labels += [labels_B for _, labels_B in batches]
        left -= limit
    return torch.cat(labels) if labels else torch.empty(0, dtype=torch.int64)


def _words(kinds: Tensor, labels: Sequence[str]) -> str:
    """One answer, by the names of its labels."""
    (answer,) = kinds
    if answer.ndim == 0:
        return labels[int(answer)]
    there = [labels[k] for k in answer.nonzero().flatten().tolist()]
    return ", ".join(there) or "none of its labels"
