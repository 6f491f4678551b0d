"""What a data set is to the rest of the product: three splits that give batches.

Shapes: N images, C channels, H, W height and width, B one batch, M images taken.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError
from ..options import ChannelOrder
from ..shown import short_repr

Inputs = Any
"""What one call of a network takes (`forward.call`): mostly images (B, C, H, W); else a tuple of
arguments, or a dictionary of named ones."""
Batch = tuple[Inputs, Tensor]
"""Images (B, C, H, W), float32 and normalised, and labels (B,), int64; both on the device. Where an
image may have several labels they are (B, K), 0 or 1. A user's own data may have other inputs."""
Batches = Iterable[Batch]
BUILT_IN = ("cifar10", "cifar100", "fashion-mnist", "digits")
"""Names that stand for data sets without a folder."""


OWN_LOADERS = "your loaders"
"""Name of the data that a program hands over in loaders."""


class Split(Protocol):
    """A part of a data set."""

    @property
    def num_images(self) -> int:
        """How many images it holds."""

    @property
    def labels_N(self) -> Tensor:
        """Label of each image, (N,) int64, on the CPU; or labels (N, K) of 0 and 1."""

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass.

        Args:
            batch_size: images per batch; the last one may hold fewer.
            device: where the tensors are put.
            augment: random crops and flips, drawn from the shuffle seed.
            shuffle_seed: a seed gives that seed's order, None the order of the files.
            limit: take a random part of so many images, drawn from the seed (0 if None);
                never the first of a sorted folder.
        """


@dataclass(frozen=True, eq=False)
class SplitOver:
    """What a split has of another one.

    Attributes:
        split: the other; it has as many images, in the same order.
    """

    split: Split

    @property
    def num_images(self) -> int:
        """How many images it holds."""
        return self.split.num_images

    @property
    def num_drawn(self) -> int:
        """How many images a pass of training visits."""
        return images_in_a_pass(self.split)


@dataclass(frozen=True, eq=False)
class ChangedSplit(SplitOver, ABC):
    """Another split whose batches are changed on their way."""

    @property
    def labels_N(self) -> Tensor:
        """Label of each image."""
        return self.split.labels_N

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass; see `Split.batches`."""
        for batch in self.split.batches(
            batch_size, device=device, augment=augment, shuffle_seed=shuffle_seed, limit=limit
        ):
            yield from self.changed(*batch)

    @abstractmethod
    def changed(self, inputs: Inputs, labels_N: Tensor) -> Iterator[Batch]:
        """What comes of one batch: one or several, on the same device."""


@dataclass(frozen=True)
class Source:
    """Where a part of the preprocessing comes from.

    Attributes:
        words: as they are shown: "given", "the model file", "shared by the images".
        is_guess: whether nobody said it, so that held-out images may say better.
    """

    words: str
    is_guess: bool = False


GIVEN = Source("given")
OWN = Source("as the data set gives them")


@dataclass(frozen=True)
class Sources:
    """Where size, scale (mean and std) and order of the channels of the inputs come from."""

    size: Source = OWN
    scale: Source = OWN
    channel_order: Source = Source("usual")

    @property
    def words(self) -> dict[str, str]:
        """All of them, as they are shown."""
        return {name: source.words for name, source in vars(self).items()}


@dataclass(frozen=True)
class DataSet:
    """Images for training, for every choice, and for the one final measurement.

    Attributes:
        name: the `data` value that opens it again on this machine.
        labels: names, in the order of the network's outputs.
        input_size: channels, height, width.
        mean, std: per channel, of pixels scaled to 0..1; what batches are normalised with.
        train: images that training and statistics see.
        held_out: part of the training data that every selection is made on.
        test: touched once, at the end.
        channel_order: of the inputs; mean and std are in this order.
        sources: where input_size, mean and std, and channel_order come from.
        multi_label: whether an image may have any number of labels.
        unlabeled: whether nobody labelled the images: labels are then the answers of the network
            that came in (`answered.py`), and names those of its outputs.
        notes: what was left out or chosen while it was opened, a line each.
    """

    name: str
    labels: tuple[str, ...]
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    held_out: Split
    test: Split
    channel_order: ChannelOrder = "rgb"
    sources: Sources = Sources()
    multi_label: bool = False
    unlabeled: bool = False
    notes: tuple[str, ...] = ()

    __repr__ = short_repr

    @property
    def title(self) -> str:
        """The name for what leaves this machine: of a folder, without the way to it.

        A folder that is called as a set of `BUILT_IN` ends in a slash, so that it is no such set.
        """
        if not Path(self.name).is_absolute():
            return self.name
        name = Path(self.name).name
        return f"{name}/" if name in BUILT_IN else name

    @property
    def as_given(self) -> str:
        """What messages call it: the option that names it, or the program's own loaders."""
        return self.name if self.name == OWN_LOADERS else f"`data={self.name}`"

    @property
    def is_scalable(self) -> bool:
        """Whether the same images can be had with another mean and std: pixels are known."""
        parts = (self.train, self.held_out, self.test)
        return bool(self.mean) and all(hasattr(part, "is_bgr") for part in parts)

    def scaled(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        channel_order: ChannelOrder | None = None,
    ) -> "DataSet":
        """The same images with another mean and std, and order of the channels (None: this one).

        The images must be scalable.
        """
        order = channel_order or self.channel_order

        def scaled(part: Any) -> Any:
            return replace(part, mean=mean, std=std, is_bgr=order == "bgr")

        train, held_out, test = map(scaled, (self.train, self.held_out, self.test))
        return replace(
            self,
            mean=mean,
            std=std,
            channel_order=order,
            train=train,
            held_out=held_out,
            test=test,
        )

    def sourced(self, **sources: Source) -> "DataSet":
        """The same with other sources of the parts of its preprocessing that are named."""
        return replace(self, sources=replace(self.sources, **sources))


def images_in_a_pass(split: Split) -> int:
    """How many images a pass of training visits: all, unless a user's sampler draws them."""
    return int(getattr(split, "num_drawn", split.num_images))


def output_names(num_outputs: int | None) -> tuple[str, ...]:
    """Names of labels that nobody named, by their numbers; one output tells two labels apart.

    Raises:
        InputError: nobody says how many outputs there are.

    >>> output_names(1)
    ('0', '1')
    """
    if num_outputs is None:
        raise InputError(
            "images without labels given, and no trained network whose answers could stand in "
            "their place; expected labelled images; give one folder of images per label"
        )
    return tuple(map(str, range(max(2, num_outputs))))


GREY_FED_AS_COLOUR = "grey pictures are fed in three equal channels, as many as the network takes"
COLOUR_FED_AS_GREY = (
    "pictures are fed without their colours, in the one channel that the network takes"
)


def channel_notes(channels: int, *, is_grey: bool) -> tuple[str, ...]:
    """What has to be said where pictures have other channels than the network.

    >>> channel_notes(1, is_grey=True)
    ()
    """
    if is_grey:
        return (GREY_FED_AS_COLOUR,) if channels == 3 else ()
    return (COLOUR_FED_AS_GREY,) if channels == 1 else ()
