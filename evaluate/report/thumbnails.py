"""Inputs of a network as small pictures again.

Shapes: C channels, H, W height and width.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LONGEST_SIDE = 64
"""Pixels: a dozen of them stay below 200 kB."""


@dataclass(frozen=True)
class InputScale:
    """What pixels of 0..1 were normalised with, and in which order their channels are."""

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    is_bgr: bool = False


def thumbnail(image: Tensor, scale: InputScale) -> str | None:
    """A PNG, base64; None where the input has not one or three channels.

    Without a known scale the input's own range becomes black to white.

    Args:
        image: (C, H, W), normalised.
    """
    from PIL import Image

    if image.ndim != 3 or len(image) not in (1, 3) or not bool(torch.isfinite(image).all()):
        return None
    pixels = (255 * unscaled(image, scale)).round().clamp(0, 255).to(torch.uint8)
    if scale.is_bgr and len(pixels) == 3:
        pixels = pixels.flip(0)
    grey = len(pixels) == 1
    array = pixels[0].numpy() if grey else pixels.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def unscaled(image: Tensor, scale: InputScale) -> Tensor:
    """Pixels of 0..1 from a normalised image (C, H, W).

    >>> unscaled(torch.tensor([[[2.0]]]), InputScale((0.5,), (0.25,)))
    tensor([[[1.]]])
    """
    if len(scale.mean) == len(image):
        mean_C, std_C = torch.tensor(scale.mean), torch.tensor(scale.std)
        return image * std_C[:, None, None] + mean_C[:, None, None]
    low, high = image.amin(), image.amax()
    return (image - low) / (high - low).clamp(min=1e-12)
