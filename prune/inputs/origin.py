"""Where a network comes from: what is needed to build it again and to feed it."""

from dataclasses import asdict, dataclass
from typing import Any

from ..structure.depth import DepthCut

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

    Attributes:
        arch: what `zoo.build` takes: a zoo name ("vgg16"), "torchvision:NAME", "timm:NAME" or
            "package.module:callable". None for a live network that came with no name.
        num_labels: width of the output layer.
        data: the `data` value it was trained or pruned with, None if unknown.
        labels: label names in the order of the outputs; empty if unknown.
        input_size: channels, height, width of one input.
        mean, std: per channel, of pixels scaled to 0..1.
        cut: how the architecture was cut off in depth, None where it is whole.
    """

    arch: str | None
    num_labels: int
    data: str | None = None
    labels: tuple[str, ...] = ()
    input_size: tuple[int, int, int] = (3, 32, 32)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    cut: DepthCut | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as they are written to files; no `cut` where there is none."""
        values = asdict(self)
        return values if self.cut else {k: v for k, v in values.items() if k != "cut"}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Origin":
        """Read back what `to_dict` wrote, also from JSON, where tuples became lists."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        if fields.get("cut"):
            fields["cut"] = DepthCut.from_dict(fields["cut"])
        return Origin(**fields)
