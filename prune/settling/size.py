"""Height and width of the inputs of a folder's images, where nobody says them.

What the images share, what the architecture is usually fed, and sizes that are usual anywhere:
those at which the network runs, and of several the one that fits best on held-out images.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..errors import PruneError
from ..forward import FORWARD_ERRORS, call_on_copies, evaluating
from ..inputs import zoo
from ..inputs.decode import SMALL, FileDecoder
from ..inputs.folders import SHARED, USUAL_SIZE
from ..inputs.pretrained import input_size
from ..inputs.split import DataSet, Source
from ..inputs.streams import StreamSplit
from ..options import DataOptions
from ..outputs import logits_of
from .opened import SETTLING_IMAGES, Opened
from .scale import scale_trials
from .trials import (
    SAMPLE_BYTES,
    Found,
    InputTrial,
    asking,
    is_clear,
    run_trials,
    runner_up,
    take_sample,
)

Size = tuple[int, int]
"""Height and width."""
USUAL_SIDES = (224, 32, 64, 128, 299)
"""Of networks for ImageNet, CIFAR, Tiny ImageNet, faces, and Inception: tried for images that
differ in size."""
ALL_SIDES = (28, 32, 224, 64, 96, 128, 48, 160, 192, 256, 299, 320, 384, 448, 512, 16)
"""Tried, the most usual ones first, for a network that runs at none of the others: one whose
classifier takes a flattened map runs at one size alone."""

PROBE_IMAGES = 2
"""More than one: what has a row for each image is then told from what has not."""
LIKELIEST = Source("the likeliest at which the network runs: a guess; the images are cropped to it")
ONLY = Source("the first usual one at which the network runs; the images are cropped to it")


def settle_size(
    opened: Opened, asked: DataOptions, *, any_outputs: bool = False
) -> tuple[Opened, Size, Source]:
    """Height and width of the inputs, where they come from, and notes on the checkpoint.

    Args:
        opened: data that are decoded when they are needed, at a size that nobody asked for.
        any_outputs: whether the network need not give class scores.
    """
    data, model = opened.data, opened.checkpoint.model
    default = (opened, data.input_size[1:], data.sources.size)
    wanted = possible_sizes(data, opened.checkpoint.origin.arch)

    def runs(size: Size) -> bool:
        found = outputs_at(model, (data.input_size[0], *size), opened.device)
        return found is not None and (any_outputs or _are_logits(found))

    sizes = list(filter(runs, wanted))
    if not sizes:
        size = next(filter(runs, ((side, side) for side in ALL_SIDES)), None)
        return default if size is None else (opened, size, ONLY)
    if data.unlabeled and len(sizes) > 1:
        return _guessed_size(opened, sizes)
    if len(sizes) == 1 or not data.held_out.num_images:
        return opened, sizes[0], data.sources.size if sizes[0] == data.input_size[1:] else ONLY
    return _measured(opened, sizes, asked)


def possible_sizes(data: DataSet, arch: str | None) -> list[Size]:
    """Sizes to try, the likeliest first, each once."""
    of_arch = _of_architecture(arch)
    if data.sources.size == SHARED:
        shared = data.input_size[1:]
        usual = of_arch or ([USUAL_SIZE] if max(shared) > SMALL else [])
        return list(dict.fromkeys([shared, *usual]))
    return list(dict.fromkeys([*of_arch, *((side, side) for side in USUAL_SIDES)]))


def _of_architecture(arch: str | None) -> list[Size]:
    if arch is None or zoo.parse_arch(arch).source not in ("torchvision", "timm"):
        return []
    try:
        return [input_size(arch)[1:]]
    except (PruneError, ValueError):  # a name without pretrained weights
        return []


def outputs_at(model: nn.Module, input_size: tuple[int, int, int], device: torch.device) -> Any:
    """What a network gives for `PROBE_IMAGES` black pictures; None where it does not run on them.

    Args:
        input_size: channels, height, width.
    """
    try:
        with evaluating(model):
            return call_on_copies(model, torch.zeros(PROBE_IMAGES, *input_size, device=device))
    except (*FORWARD_ERRORS, PruneError):
        return None


def _are_logits(outputs: Any) -> bool:
    try:
        logits_of(outputs)
    except PruneError:
        return False
    return True


def at_size(data: DataSet, size: Size) -> DataSet:
    """The same images, decoded at another size when they are needed."""
    input_size = (data.input_size[0], *size)

    def resized(part: object) -> StreamSplit:
        assert isinstance(part, StreamSplit)
        assert isinstance(part.decode, FileDecoder)
        return replace(part, decode=replace(part.decode, input_size=input_size))

    train, held_out, test = map(resized, (data.train, data.held_out, data.test))
    return replace(data, input_size=input_size, train=train, held_out=held_out, test=test)


def _measured(
    opened: Opened, sizes: Sequence[Size], asked: DataOptions
) -> tuple[Opened, Size, Source]:
    """The size that fits best, each with the scale that fits it best; the first, the likeliest, as
    long as no other is surely better.
    """
    largest = max(height * width for height, width in sizes)
    limit = min(SETTLING_IMAGES, max(1, SAMPLE_BYTES // (len(sizes) * 3 * largest)))
    samples = [take_sample(at_size(opened.data, size), limit) for size in sizes]
    trials = [
        replace(trial, name=size_words(size))
        for place, size in enumerate(sizes)
        for trial in scale_trials(opened, asked, place)
    ]
    ask = asking(opened.checkpoint.model, samples, opened.device)
    found = run_trials(trials, ask, len(samples[0]))
    return _told(opened, found, sizes, len(samples[0]))


def _guessed_size(opened: Opened, sizes: Sequence[Size]) -> tuple[Opened, Size, Source]:
    """The likeliest size, where there are no labels to try sizes on."""
    others = ", ".join(map(size_words, sizes[1:]))
    noted = opened.noting(
        "nobody says which input size the network was trained with, and there are no labels to try "
        f"sizes on: {size_words(sizes[0])} is a guess (it also runs at {others}); give `input_size`"
    )
    is_default = sizes[0] == opened.data.input_size[1:]
    return noted, sizes[0], opened.data.sources.size if is_default else LIKELIEST


def size_words(size: Size) -> str:
    """Height and width as they are shown."""
    return f"{size[0]} x {size[1]}"


def _told(
    opened: Opened, found: Sequence[Found], sizes: Sequence[Size], total: int
) -> tuple[Opened, Size, Source]:
    likeliest = next((one for one in found if one[0].sample == 0), None)
    if likeliest is not None and not is_clear(found[0][1], likeliest[1]):
        found = [likeliest, *(one for one in found if one is not likeliest)]
    best, answers = found[0]

    def is_other(trial: InputTrial) -> bool:
        return trial.sample != best.sample

    other = runner_up(found, is_other)
    words = f"measured: {answers.percent} of {total} held-out images"
    if other is None:
        alike = {trial.sample for trial, _ in found}
        rest = [place for place in range(len(sizes)) if place != best.sample]
        for said, places in (
            ("clearly better than", [place for place in rest if place not in alike]),
            ("the same answers at", [place for place in rest if place in alike]),
        ):
            if places:
                words += f", {said} {', '.join(size_words(sizes[place]) for place in places)}"
        return opened, sizes[best.sample], Source(words)
    words += f", next best {other[0].name} {other[1].percent}"
    if not is_clear(answers, other[1]):
        opened = opened.noting(
            f"nobody says which input size the network was trained with, and {total} held-out "
            f"images do not tell surely: {best.name} ({answers.percent} right) is taken, but "
            f"{other[0].name} ({other[1].percent}) may be the right one; give `input_size` if you "
            "know it"
        )
    return opened, sizes[best.sample], Source(words)
