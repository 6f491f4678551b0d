"""Pixels of any depth as 8-bit ones, by one stated rule; never clipped.

    1 bit                0 and 255
    8 bits               as they are
    9 to 16 bits         the whole range of the type is scaled: 65535 becomes 255 (of 12 bits, 4095)
    float                0 to 1 is scaled to 0 to 255
    anything else        refused: signed and 32-bit integers have no range that all files mean

Palettes become colours. Alpha is left out, and CMYK becomes RGB, as torchvision's ImageFolder does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError

BITS_PER_SAMPLE = 258
"""Tag of a TIFF file (TIFF 6.0, section 8)."""
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I", "F")
"""Pillow's modes of pictures without colours."""
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
"""Formats whose integers of mode I are 16-bit ones: they hold no deeper ones."""


def is_grey(image: Image.Image) -> bool:
    """Whether a picture holds no colours, as its header says."""
    return image.mode in GREY_MODES


def to_8_bit(image: Image.Image) -> Image.Image:
    """A picture in mode L (grey) or a mode of colours, 8 bits a channel.

    Raises:
        InputError: its pixels have no known range.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(scale_to_8_bit(np.array(image), _bits(image)))
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    return image


def scale_to_8_bit(pixels: NDArray[Any], bits: int | None = None) -> NDArray[np.uint8]:
    """An array of any shape as uint8.

    Args:
        bits: depth of unsigned integers; None for that of their type.

    Raises:
        InputError: signed or 32-bit integers, or floats outside 0..1.

    >>> scale_to_8_bit(np.array([0, 257, 65535], np.uint16)).tolist()
    [0, 1, 255]
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    if pixels.dtype == np.bool_:
        scaled: NDArray[np.uint8] = np.where(pixels, 255, 0).astype(np.uint8)
        return scaled
    if pixels.dtype.kind == "f":
        if not (pixels.size and pixels.min() >= 0 and pixels.max() <= 1):  # so NaN, too
            raise InputError(
                f"float pixels from {pixels.min():.4g} to {pixels.max():.4g} given; expected 0 to "
                "1; scale them, or save them with 8 or 16 bits"
            )
        return _rounded(pixels * 255.0)
    depth = bits or (16 if pixels.dtype == np.uint16 else None)
    if depth is None or depth > 16 or (pixels.size and pixels.min() < 0):
        raise InputError(
            f"pixels of type {pixels.dtype} given, whose range is not known; expected 8 or 16 "
            "bits, or floats from 0 to 1; save them so"
        )
    return _rounded(pixels * (255.0 / (2**depth - 1)))


def _rounded(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(pixels).astype(np.uint8)
    return rounded


def _bits(image: Image.Image) -> int | None:
    """Bits of one sample of a deep picture; None where they are those of its type."""
    if image.mode == "I":
        return 16 if image.format in SIXTEEN_BIT_FORMATS else None
    tags = getattr(image, "tag_v2", None)
    stated = None if tags is None else tags.get(BITS_PER_SAMPLE)
    return int(stated[0]) if stated and image.mode.startswith("I;16") else None
