"""Images that nobody labelled: their labels are the answers of the network that came in.

What a filter selects is then selected among the network's own answers, and a smaller network is
judged by how often it gives the same ones.

Shapes: N images, B images of a batch, K labels.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..forward import call, channels_last, evaluating, on_device
from ..outputs import class_scores, logits_of
from .arrays import ArraySplit
from .decode import FileDecoder
from .loaders import LoaderSplit
from .split import Batch, DataSet, Inputs, Split, SplitOver
from .streams import StreamSplit

UNKNOWN = -1
"""The label of an image that the network was not asked for yet."""
ANSWERING_BATCH = 250
"""Images at once, where all of a part are asked for; it changes no answer but by rounding."""


@dataclass(frozen=True, eq=False)
class OriginalAnswers:
    """What the network that came in says of images.

    Attributes:
        model: a copy of it. The job looks into the original while batches are read: its hooks must
            not see what is asked here.
        device: where the copy is.
        num_labels: K.
        multi_label: whether an image may have any number of labels: every output above 0.
    """

    model: nn.Module
    device: torch.device
    num_labels: int
    multi_label: bool = False

    @staticmethod
    def of(model: nn.Module, data: DataSet, device: torch.device) -> "OriginalAnswers":
        """Of a network on that device."""
        return OriginalAnswers(copy.deepcopy(model), device, len(data.labels), data.multi_label)

    def __call__(self, inputs: Inputs) -> Tensor:
        """Labels (B,) or (B, K) int64, on the network's device."""
        with evaluating(self.model):
            outputs = call(self.model, channels_last(on_device(inputs, self.device)))
        if self.multi_label:
            return (logits_of(outputs) > 0).long()
        return class_scores(outputs).argmax(dim=1)

    def unknown(self, num_images: int) -> Tensor:
        """Labels of images that were not looked at yet."""
        shape = (num_images, self.num_labels) if self.multi_label else (num_images,)
        return torch.full(shape, UNKNOWN, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class AnsweredSplit(SplitOver):
    """A split whose labels are the answers of the network that came in.

    An image is asked for when it first comes, as it is without augmentation. Where a data set may
    give another picture every time, every batch is asked for anew: answers belong to what is seen.

    Attributes:
        split: gives the positions of its images in the place of labels.
        answers: of the network that came in.
        known_N: answers so far, (N,) or (N, K), on the CPU; `UNKNOWN` elsewhere.
        is_fixed: whether a picture is the same whenever it is read without augmentation.
        of_answers: see `scores.Accuracy`.
    """

    answers: OriginalAnswers
    known_N: Tensor
    is_fixed: bool = True
    of_answers: bool = field(default=True, init=False)

    @property
    def labels_N(self) -> Tensor:
        """Answer to each image, (N,) int64, or (N, K) of 0 and 1; asks for those that lack one."""
        if not self.is_complete:
            for inputs, places_B in self.split.batches(ANSWERING_BATCH, device=self.answers.device):
                self._answer(inputs, places_B)
        return self.known_N

    @property
    def is_complete(self) -> bool:
        """Whether every image was asked for."""
        return bool((self.known_N >= 0).all())

    def over(self, split: Split) -> "AnsweredSplit":
        """The answers to other pictures, which also give their positions as labels."""
        return replace(self, split=split, known_N=self.answers.unknown(split.num_images))

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
        is_known = self.is_fixed and (augment or self.is_complete)
        known_N = self.labels_N.to(device) if is_known else None
        for inputs, places_B in self.split.batches(
            batch_size, device=device, augment=augment, shuffle_seed=shuffle_seed, limit=limit
        ):
            if known_N is not None:
                yield inputs, known_N[places_B]
            else:
                yield inputs, self._answer(inputs, places_B).to(places_B.device)

    def _answer(self, inputs: Inputs, places_B: Tensor) -> Tensor:
        """Answers to a batch, remembered for those that had none."""
        places_B = places_B.cpu()
        before = self.known_N[places_B]
        is_new_B = (before < 0).flatten(1).any(1) if before.ndim == 2 else before < 0
        if self.is_fixed and not bool(is_new_B.any()):
            return before
        found = self.answers(inputs).cpu()
        self.known_N[places_B[is_new_B]] = found[is_new_B]
        return self.known_N[places_B] if self.is_fixed else found


def with_answers(data: DataSet, model: nn.Module, device: torch.device) -> DataSet:
    """The data with the network's own answers as labels.

    Args:
        data: opened without labels (`DataSet.unlabeled`).
        model: on that device.

    Raises:
        InputError: the data are splits of the user's own making.
    """
    answers = OriginalAnswers.of(model, data, device)
    train, held_out, test = (
        AnsweredSplit(part, answers, answers.unknown(part.num_images), is_fixed)
        for part, is_fixed in map(_placed, (data.train, data.held_out, data.test))
    )
    return replace(data, train=train, held_out=held_out, test=test)


def _placed(part: Split) -> tuple[Split, bool]:
    """The part with positions in the place of labels; and whether its pictures are fixed."""
    if isinstance(part, ArraySplit | StreamSplit):
        is_fixed = isinstance(part, ArraySplit) or isinstance(part.decode, FileDecoder)
        return replace(part, labels_N=torch.arange(part.num_images)), is_fixed
    if isinstance(part, LoaderSplit) and part.unlabeled:
        return part, False
    raise InputError(
        f"`unlabeled` given for data of a {type(part).__name__}, which labels its images itself; "
        "expected a folder, a known data set or (train, test) data sets; leave it out"
    )
