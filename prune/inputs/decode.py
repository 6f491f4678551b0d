"""From an image file to pixels of the network's size.

Shapes: C channels, H, W height and width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transforms

from ..errors import InputError
from .split import seeded

IMAGE_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""What the names that torchvision's ImageFolder lists stand for. Pillow goes by content and knows
many more, some of which start other programs (EPS: Ghostscript)."""
SMALL = 64
"""Up to this many pixels a side, an image is small: no margin is cropped from it."""
CROP_MARGIN = 256 / 224
"""Large images are scaled to this times the crop: as torchvision's references, 256 for 224."""
CROP_SHARE = (0.25, 1.0)
"""Of the area of an image that a random crop takes: milder than the 0.08 to 1 of Inception
(arXiv 1409.4842), which is made for long trainings."""


@dataclass(frozen=True, eq=False)
class FileDecoder:
    """Decodes files by position; picklable, so workers can hold it.

    Attributes:
        paths: one file per position.
        input_size: channels, height, width of what it gives.
    """

    paths: tuple[str, ...]
    input_size: tuple[int, int, int]

    def __call__(self, position: int, seed: int | None) -> Tensor:
        """One image (C, H, W) uint8: its centre, or with a seed a random crop, perhaps mirrored.

        Raises:
            InputError: the file does not decode.
        """
        channels, height, width = self.input_size
        image = read_image(self.paths[position], channels)
        if seed is None:
            return crop_centre(image, height, width)
        with seeded(seed):
            augment = v2.Compose(
                [
                    v2.RandomResizedCrop((height, width), scale=CROP_SHARE),
                    v2.RandomHorizontalFlip(),
                ]
            )
            augmented: Tensor = augment(image)
            return augmented


def read_image(path: str, channels: int) -> Tensor:
    """Decode one file to (C, H, W) uint8; C is 3 (colour) or 1 (grey).

    Raises:
        InputError: the file does not decode.
    """
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            converted = image.convert("L" if channels == 1 else "RGB")
        array = torch.from_numpy(np.array(converted)).view(*converted.size[::-1], channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _does_not_decode(path, error) from error
    return array.permute(2, 0, 1).contiguous()


def crop_centre(image: Tensor, height: int, width: int) -> Tensor:
    """Scale and crop to (C, height, width); large sizes lose an eighth of margin, as is usual."""
    if image.shape[1:] == (height, width):
        return image
    margin = 1.0 if max(height, width) <= SMALL else CROP_MARGIN
    scale = max(height / image.shape[1], width / image.shape[2]) * margin
    size = [
        max(height, round(image.shape[1] * scale)),
        max(width, round(image.shape[2] * scale)),
    ]
    resized = transforms.resize(image, size, antialias=True)
    cropped: Tensor = transforms.center_crop(resized, [height, width])
    return cropped


def read_size(path: str) -> tuple[int, int]:
    """Height and width of an image file, from its header alone.

    Raises:
        InputError: the file is not an image.
    """
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _does_not_decode(path, error) from error


def _does_not_decode(path: str, error: Exception) -> InputError:
    reason = "".join(str(error).splitlines()[:1]).replace(repr(path), "the file")
    reason = reason or type(error).__name__
    return InputError(
        f"{Path(path)} does not decode as an image ({reason}); "
        f"expected {', '.join(IMAGE_FORMATS)}; replace it or remove it"
    )
