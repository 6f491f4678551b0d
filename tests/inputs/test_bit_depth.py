"""Pictures of every depth: scaled by one rule or refused, never clipped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.bit_depth import scale_to_8_bit
from prune_dl.prune.inputs.datasets import as_pixels
from prune_dl.prune.inputs.decode import read_image, read_is_grey

RAMP = np.linspace(0, 1, 16).reshape(4, 4)
EIGHT = np.rint(RAMP * 255).astype(np.uint8)
SIXTEEN = np.rint(RAMP * 65535).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("a.png", SIXTEEN),
        ("a.tiff", SIXTEEN),
        ("a.tiff", SIXTEEN.astype(">u2")),
        ("a.pgm", SIXTEEN),
        ("a.tiff", RAMP.astype(np.float32)),
        ("a.png", EIGHT),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_pictures_are_scaled_over_their_whole_range(
    tmp_path: Path, name: str, pixels: np.ndarray, channels: int
) -> None:
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    assert read_is_grey(str(path))
    found = read_image(str(path), channels)
    assert found.shape == (channels, 4, 4)
    assert torch.equal(found, torch.from_numpy(EIGHT).expand(channels, -1, -1))


def test_bits_palettes_alpha_and_inks_become_grey_or_colours(tmp_path: Path) -> None:
    colours = np.stack([EIGHT, 255 - EIGHT, EIGHT // 2], -1)
    expected = torch.from_numpy(colours).permute(2, 0, 1)
    picture = Image.fromarray(colours)
    picture.quantize(256).save(tmp_path / "palette.png")
    faint = picture.copy()
    faint.putalpha(7)
    faint.save(tmp_path / "alpha.png")
    clear = picture.quantize(256)
    clear.info["transparency"] = bytes(256)
    clear.save(tmp_path / "clear.png", transparency=bytes(256))
    for name in ("palette", "alpha", "clear"):
        path = str(tmp_path / f"{name}.png")
        assert not read_is_grey(path)
        assert torch.equal(read_image(path, 3), expected), name
    picture.convert("CMYK").save(tmp_path / "inks.tiff")
    assert torch.equal(read_image(str(tmp_path / "inks.tiff"), 3), expected)
    Image.fromarray(RAMP > 0.5).save(tmp_path / "bits.png")
    bits = read_image(str(tmp_path / "bits.png"), 1)
    assert torch.equal(bits[0], torch.from_numpy(np.where(RAMP > 0.5, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (SIXTEEN.astype(np.int32), r"pixels of type int32 given, whose range is not known"),
        (RAMP.astype(np.float32) * 9, r"float pixels from 0 to 9 given; expected 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), r"float pixels from nan to nan given"),
    ],
)
def test_pixels_without_a_known_range_are_refused_in_one_line(
    tmp_path: Path, pixels: np.ndarray, words: str
) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(pixels).save(path)
    with pytest.raises(InputError, match=f"a.tiff: {words}"):
        read_image(str(path), 3)


def test_twelve_bits_have_a_range_of_their_own() -> None:
    assert scale_to_8_bit(np.array([0, 4095], np.uint16), 12).tolist() == [0, 255]


def test_items_of_a_data_set_follow_the_same_rule() -> None:
    expected = torch.from_numpy(EIGHT)[None]
    for item in (SIXTEEN, Image.fromarray(SIXTEEN), torch.from_numpy(SIXTEEN.copy())):
        assert torch.equal(as_pixels(item), expected)
    ready = torch.randn(3, 4, 4)
    assert as_pixels(ready) is ready
    with pytest.raises(InputError, match="pixels of type int64 given"):
        as_pixels(torch.zeros(3, 4, 4, dtype=torch.int64))
