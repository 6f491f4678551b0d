"""Inputs that ask for more memory or time than there is: refused, or worked on within bounds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs import decode, zoo
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.decode import FileDecoder, crop_centre
from prune_dl.prune.inputs.preprocessing import Preprocessing

IN_A_PROCESS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8_000_000_000,) * 2)
from prune_dl.prune.inputs.decode import FileDecoder
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.errors import PruneError
for name in sys.argv[1:]:
    try:
        for seed in (None, 0):
            print(tuple(FileDecoder((name,), (3, 224, 224))(0, seed).shape))
    except PruneError as error:
        print(error)
for arch in ("vgg6:width=1e9", "resnet20:width=1e5", "torchvision:mobilenet_v2:width_mult=1e6"):
    try:
        zoo.build(Trusted(arch), 10)
    except PruneError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_pictures_and_networks_without_bounds_stay_under_two_gigabytes(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1, 20_000, 3), np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(np.zeros((20_000, 1, 3), np.uint8)).save(tmp_path / "tall.png")
    Image.fromarray(np.zeros((13_000, 13_000), np.uint8)).save(tmp_path / "large.png")
    names = [str(tmp_path / f"{name}.png") for name in ("wide", "tall", "large")]
    command = [sys.executable, "-c", IN_A_PROCESS, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["(3, 224, 224)"] * 4, done.stderr
    large = "13000 x 13000 pixels; expected at most 89 million pixels; scale it down"
    assert lines[4].endswith(large)
    assert len(lines) == 9
    assert all("whose weights take more than" in line for line in lines[5:8])
    assert int(lines[-1]) < 2e9


def test_a_long_picture_is_cropped_to_its_middle() -> None:
    image = torch.zeros(3, 20, 5000, dtype=torch.uint8)
    image[:, :, 2480:2520] = 200  # more than the crop of 17.5 x 17.5, with a margin
    assert (crop_centre(image, 224, 224) == 200).all()


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (224, 900), (60, 64)])
def test_usual_pictures_are_scaled_whole(size: tuple[int, int]) -> None:
    """The same pixels as scaling first gives: no result changes by the bound."""
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    scale = max(224 / size[0], 224 / size[1]) * decode.CROP_MARGIN
    scaled = [max(224, round(side * scale)) for side in size]
    whole = decode.transforms.resize(image, scaled, antialias=True)
    expected = decode.transforms.center_crop(whole, [224, 224])
    assert torch.equal(crop_centre(image, 224, 224), expected)


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "large.jpg")
    Image.new("RGB", (600, 600), (200, 100, 50)).save(path)
    monkeypatch.setattr(decode, "LARGEST_DECODED", 300 * 300)
    image = FileDecoder((path,), (3, 64, 64))(0, None)
    assert (image.float().mean((1, 2)) - torch.tensor([200.0, 100.0, 50.0])).abs().max() < 2
    with pytest.raises(InputError, match="600 x 600 pixels; expected at most"):
        FileDecoder((path,), (3, 400, 400))(0, None)


@pytest.mark.parametrize("size", [0, -1, 4097, 100_000, 10**13])
def test_an_input_size_has_an_upper_end(size: int) -> None:
    for given in (size, (3, 32, size)):
        with pytest.raises(UsageError, match=f"`input_size={size}` given; expected 1 to 4096"):
            Preprocessing.of(given)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_mean_and_std_are_finite(value: float) -> None:
    for options in ({"mean": (value,) * 3}, {"std": (value,) * 3}):
        with pytest.raises(UsageError, match="given; expected finite numbers"):
            Preprocessing(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arch", "num_labels"),
    [
        ("vgg6:width=1e9", 10),
        ("vgg6:width=1e30", 10),
        ("vgg16:width=1e4", 10),
        ("vgg6:in_channels=100000000000", 10),
        ("vgg6", 10**13),
        ("torchvision:resnet18", 10**12),
        ("torchvision:vit_b_16:image_size=1000000000", 10),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_it_is_built(
    arch: str, num_labels: int
) -> None:
    with pytest.raises(InputError, match=r"whose weights take more than \d+ GB; expected"):
        zoo.build(Trusted(arch), num_labels)


@pytest.mark.parametrize(
    "arch",
    [
        *("vgg6:width=inf", "vgg6:width=nan", "resnet20:width=inf", "vgg6:in_channels=-1"),
        *("avgg16:early_pools=1.5", "torchvision:resnet18:groups=3"),
    ],
)
def test_options_that_no_network_has_are_one_line(arch: str) -> None:
    with pytest.raises(UsageError) as refused:
        zoo.build(Trusted(arch), 10)
    assert "\n" not in str(refused.value)
