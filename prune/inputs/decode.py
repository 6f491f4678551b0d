"""From an image file to pixels of the network's size.

Shapes: C channels, H, W height and width.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transforms

from ..errors import InputError, PruneError
from ..files import require_regular
from .bit_depth import is_grey, to_8_bit
from .seeded import seeded

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
LARGEST_DECODED = 1024 * 1024 * 1024 // 4 // 3
"""Most pixels that are decoded from one file: 89 million, as Pillow warns above. In colour they
take 268 MB, and no more than two copies are alive at once."""
LONGEST_SCALED = 8
"""A scaled image is at most this many times as long as what is cropped from it: what lies farther
out is cut off before it is scaled. No photograph is so long, and none is changed by it."""
DECODE_ERRORS = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)
"""What Pillow ends with where a file is no image, or damaged."""


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
        image = read_image(self.paths[position], channels, least=max(height, width))
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


def read_image(path: str, channels: int, least: int | None = None) -> Tensor:
    """Decode one file to (C, H, W) uint8; C is 3 (colour) or 1 (grey). Depths: see `bit_depth`.

    Args:
        least: a JPEG that is too large is decoded at half its size, or less, as long as it keeps so
            many pixels a side; None for never.

    Raises:
        InputError: the file does not decode, is too large, or its pixels have no known range.
    """
    with _opened(path) as image:
        if least is not None and image.width * image.height > LARGEST_DECODED:
            # JPEG alone can; twice what is needed, so that scaling still smooths.
            image.draft(None, (2 * least, 2 * least))
        if image.width * image.height > LARGEST_DECODED:
            raise InputError(
                f"{Path(path)} is {image.width} x {image.height} pixels; expected at most "
                f"{LARGEST_DECODED // 10**6} million pixels; scale it down"
            )
        try:
            shallow = to_8_bit(image)
        except InputError as error:
            raise InputError(f"{Path(path)}: {error}") from error
        converted = shallow.convert("L" if channels == 1 else "RGB")
        array = torch.from_numpy(np.array(converted)).view(*converted.size[::-1], channels)
    return array.permute(2, 0, 1).contiguous()


def crop_centre(image: Tensor, height: int, width: int) -> Tensor:
    """Scale and crop to (C, height, width); large sizes lose an eighth of margin, as is usual."""
    if image.shape[1:] == (height, width):
        return image
    margin = 1.0 if max(height, width) <= SMALL else CROP_MARGIN
    scale = max(height / image.shape[1], width / image.shape[2]) * margin
    image = _shorten(_shorten(image, 1, height / scale), 2, width / scale)
    size = [
        max(height, round(image.shape[1] * scale)),
        max(width, round(image.shape[2] * scale)),
    ]
    resized = transforms.resize(image, size, antialias=True)
    cropped: Tensor = transforms.center_crop(resized, [height, width])
    return cropped


def _shorten(image: Tensor, axis: int, cropped: float) -> Tensor:
    """The middle of an image that is too long along an axis to be scaled whole.

    Args:
        cropped: pixels that are left of that axis in the end, before scaling.
    """
    length = image.shape[axis]
    most = max(LONGEST_SCALED, round(LONGEST_SCALED * cropped))
    most += (length - most) % 2  # as many on both sides
    return image if length <= most else image.narrow(axis, (length - most) // 2, most)


def read_size(path: str) -> tuple[int, int]:
    """Height and width of an image file, from its header alone.

    Raises:
        InputError: the file is not an image.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_is_grey(path: str) -> bool:
    """Whether an image file holds no colours, from its header alone.

    Raises:
        InputError: the file is not an image.
    """
    with _opened(path) as image:
        return is_grey(image)


_OPENING = threading.Lock()


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """An image file with its header read, for the length of the block.

    Raises:
        InputError: it is no image, no regular file, or does not decode in the block.
    """
    try:
        require_regular(path)
        # Pillow's warning of large images is settled in `read_image`. Filters of warnings belong to
        # all threads, so one at a time sets them.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=IMAGE_FORMATS)
        with image:
            yield image
    except PruneError:
        raise
    except DECODE_ERRORS as error:
        raise _does_not_decode(path, error) from error


def _does_not_decode(path: str, error: Exception) -> InputError:
    reason = "".join(str(error).splitlines()[:1]).replace(repr(path), "the file")
    reason = reason or type(error).__name__
    return InputError(
        f"{Path(path)} does not decode as an image ({reason}); "
        f"expected {', '.join(IMAGE_FORMATS)}; replace it or remove it"
    )
