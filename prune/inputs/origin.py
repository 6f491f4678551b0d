"""Where a network comes from: what is needed to build it again and to feed it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from ..errors import InputError
from ..options import ChannelOrder
from ..structure.depth import DepthCut
from ..typed import from_values

MAX_LABELS = 2**20
"""More than any classifier has: the largest public ones tell 21,843 labels apart."""
MAX_SIDE = 2**14
"""Pixels; larger inputs do not fit into memory with any classifier."""
MAX_CLASSIFIER_INPUTS = 2**24
"""Inputs of a classifier; with ten labels its weights alone then take 640 MB."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What pretrained networks expect, per channel, of pixels scaled to 0..1."""


def imagenet_mean_std(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation for colour images (3 channels); of grey ones, the mean over colours.

    >>> imagenet_mean_std(3)[0]
    (0.485, 0.456, 0.406)
    """
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)


@dataclass(frozen=True)
class Origin:
    """Everything about a network that its weights do not say.

    Its names are plain text, also where they came out of a file: `zoo.build` and `open_data` take
    them for a file's words, unless somebody says that they are the user's (`callables.Trusted`).

    Attributes:
        arch: what `zoo.build` takes: a zoo name ("vgg16"), "torchvision:NAME", "timm:NAME" or
            "package.module:callable". None for a live network that came with no name.
        num_labels: width of the architecture's output layer; 1 also where its sign tells two labels
            apart.
        data: the `data` value it was trained or pruned with, None if unknown.
        labels: label names in the order of the outputs; empty if unknown.
        input_size: channels, height, width of one input.
        mean, std: per channel, of pixels scaled to 0..1.
        cut: how the architecture was cut off in depth, None where it is whole.
        channel_order: of the inputs; mean and std are in this order.
        output: which of its outputs holds the logits, None where that needs no name.
        labels_kept: which of the architecture's labels its output layer still tells apart,
            ascending; empty for all. `labels` names those.
    """

    arch: str | None
    num_labels: int
    data: str | None = None
    labels: tuple[str, ...] = ()
    input_size: tuple[int, int, int] = (3, 32, 32)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    cut: DepthCut | None = None
    channel_order: ChannelOrder = "rgb"
    output: str | None = None
    labels_kept: tuple[int, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Width of the output layer as it is now."""
        return len(self.labels_kept) or self.num_labels

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as they are written to files; what is as usual is left out."""
        usual = {"cut": None, "channel_order": "rgb", "output": None, "labels_kept": ()}
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in usual or v != usual[k]}

    @staticmethod
    def from_dict(values: Any, what: str = "the origin of a network") -> "Origin":
        """Read back what `to_dict` wrote, also from JSON, where tuples became lists.

        Args:
            what: the file, for the message.

        Raises:
            InputError: the values are not what `to_dict` writes, or contradict each other.
        """
        origin = from_values(values, Origin, what)
        unknown = sorted(map(str, values.keys() - {field.name for field in fields(Origin)}))
        wrong = [f"{unknown[0]} is unknown"] if unknown else list(origin._contradictions())
        if wrong:
            raise InputError(
                f"{what} states its origin in a form that this release does not know "
                f"({wrong[0]}); give `arch` and `data`, or save the network again"
            )
        return origin

    def _contradictions(self) -> Iterator[str]:
        """What cannot be true of any network, in words."""
        channels = self.input_size[0]
        if not 1 <= self.num_labels <= MAX_LABELS:
            yield f"{self.num_labels} labels"
        kept = self.labels_kept
        if kept and not all(a < b for a, b in pairwise((-1, *kept, self.num_labels))):
            yield f"labels {', '.join(map(str, kept[:5]))} of {self.num_labels}"
        one_output = (len(self.labels), self.num_labels) == (2, 1)
        if self.labels and len(self.labels) != self.num_outputs and not one_output:
            yield f"{len(self.labels)} names for {self.num_outputs} labels"
        if min(self.input_size) < 1 or max(self.input_size) > MAX_SIDE:
            yield f"inputs of {' x '.join(map(str, self.input_size))}"
        if {len(self.mean), len(self.std)} != {channels}:
            yield f"{len(self.mean)} mean and {len(self.std)} std values, {channels} channels"
        if self.channel_order == "bgr" and channels != 3:
            yield f"order bgr of {channels} channels"
        if min(self.std, default=1) <= 0:
            yield f"std of {min(self.std)}"
        if self.cut and not 1 <= self.cut.num_features <= MAX_CLASSIFIER_INPUTS:
            yield f"a classifier of {self.cut.num_features} inputs"
