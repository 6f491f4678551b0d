"""Data sets: what the splits hold, how batches come, and the errors of bad folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from platformdirs import user_cache_path
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs import folders
from prune_dl.prune.inputs.arrays import Augmentation, shift_and_flip
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.decode import IMAGE_FORMATS, read_image, read_size
from prune_dl.prune.inputs.known import default_root
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.seeded import choose_order, generator, hold_out
from torch.utils.data import TensorDataset


def write_images(folder: Path, num_images: int, size: int = 20, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    randomness = np.random.default_rng(seed)
    for number in range(num_images):
        pixels = randomness.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, num_images in (("train", 20), ("test", 5)):
        for label in ("cat", "dog"):
            write_images(tmp_path / part / label, num_images)
    return tmp_path


def test_a_folder_of_small_images_has_its_own_size_mean_and_std(root: Path) -> None:
    data = open_data(str(root))
    assert data.labels == ("cat", "dog")
    assert data.input_size == (3, 20, 20)
    sizes = [split.num_images for split in (data.train, data.held_out, data.test)]
    assert sizes == [36, 4, 10]
    images, labels = next(data.train.batches(100, device="cpu"))
    assert (images.shape, images.dtype, labels.dtype) == (
        (36, 3, 20, 20),
        torch.float32,
        torch.int64,
    )
    assert images.mean((0, 2, 3)).abs().max() < 1e-3
    assert (images.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-3
    assert torch.equal(labels, data.train.labels_N)


def test_pixels_are_those_of_the_file(root: Path) -> None:
    data = open_data(str(root), mean=(0.0,) * 3, std=(1.0,) * 3)
    images, labels = next(data.test.batches(10, device="cpu"))
    for place, label in ((0, "cat"), (7, "dog")):
        name = root / "test" / label / f"{place % 5:03}.png"
        pixels = torch.from_numpy(np.array(Image.open(name))).permute(2, 0, 1) / 255
        assert (images[place] - pixels).abs().max() < 1e-6
        assert data.labels[int(labels[place])] == label


def test_a_streamed_folder_gives_the_same_batches(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = open_data(str(root), mean=(0.5,) * 3, std=(0.5,) * 3)
    monkeypatch.setattr(folders, "LARGEST_IN_MEMORY", 0)
    streamed = open_data(str(root), input_size=(3, 20, 20), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert type(streamed.train) is not type(decoded.train)
    for arguments in ({}, {"shuffle_seed": 3}, {"shuffle_seed": 3, "limit": 9}):
        pairs = zip(
            streamed.train.batches(16, device="cpu", **arguments),  # type: ignore[arg-type]
            decoded.train.batches(16, device="cpu", **arguments),  # type: ignore[arg-type]
            strict=True,
        )
        for (x1, y1), (x2, y2) in pairs:
            assert torch.allclose(x1, x2, atol=1e-6)
            assert torch.equal(y1, y2)
    augmented = [
        next(iter(streamed.train.batches(8, device="cpu", augment=True, shuffle_seed=seed)))[0]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(augmented[0], augmented[1])
    assert not torch.equal(augmented[0], augmented[2])


def test_one_folder_is_split_with_the_seed(tmp_path: Path) -> None:
    for label in ("a", "b", "c"):
        write_images(tmp_path / label, 10)
    first, again, other = (open_data(str(tmp_path), seed=seed) for seed in (0, 0, 1))
    sizes = [split.num_images for split in (first.train, first.held_out, first.test)]
    assert sizes == [21, 3, 6]
    pixels = [next(data.test.batches(9, device="cpu"))[0] for data in (first, again, other)]
    assert torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[0], pixels[2])


def test_val_holds_out_when_test_is_there(root: Path) -> None:
    for label in ("cat", "dog"):
        write_images(root / "val" / label, 3)
    data = open_data(str(root))
    sizes = [split.num_images for split in (data.train, data.held_out, data.test)]
    assert sizes == [40, 6, 10]


@pytest.mark.parametrize("sizes", [(100, 101), (600, 600)])
def test_large_images_of_several_sizes_are_scaled_and_cropped_to_224(
    tmp_path: Path, sizes: tuple[int, int]
) -> None:
    for label, size in zip(("a", "b"), sizes, strict=True):
        write_images(tmp_path / label, 4, size=size)
    data = open_data(str(tmp_path))
    assert data.input_size == (3, 224, 224)
    assert data.sources.size.words.startswith("usual, the images differ in size or are large")
    assert data.mean == (0.485, 0.456, 0.406)
    assert next(data.test.batches(9, device="cpu"))[0].shape[1:] == (3, 224, 224)
    assert open_data(str(tmp_path), input_size=48).input_size == (3, 48, 48)


def test_digits_are_grey_and_never_mirrored() -> None:
    data = open_data("digits")
    assert data.input_size == (1, 16, 16)
    assert len(data.labels) == 10
    total = data.train.num_images + data.held_out.num_images + data.test.num_images
    assert total == 1797
    assert not data.train.augmentation.flip  # type: ignore[attr-defined]
    assert open_data("digits", input_size=(3, 32, 32)).input_size == (3, 32, 32)


def test_a_part_is_never_the_first_of_a_sorted_folder(root: Path) -> None:
    data = open_data(str(root))
    assert data.train.labels_N.tolist() == sorted(data.train.labels_N.tolist())
    labels = torch.cat([y for _, y in data.train.batches(5, device="cpu", limit=12)])
    assert len(labels) == 12
    assert 0 < int(labels.sum()) < 12


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.floats(0, 0.9), st.integers(0, 9))
def test_a_held_out_part_is_a_partition_in_proportion(
    labels: list[int], share: float, seed: int
) -> None:
    labels_N = torch.tensor(labels)
    kept, held = hold_out(labels_N, share, seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
    for label in set(labels):
        total, count = labels.count(label), int((labels_N[held] == label).sum())
        assert abs(count - share * total) <= 1
        assert count < total


@given(st.integers(1, 50), st.integers(0, 5), st.integers(1, 60))
def test_an_order_visits_distinct_images(num_images: int, seed: int, limit: int) -> None:
    for shuffle_seed in (None, seed):
        order = choose_order(num_images, shuffle_seed, limit).tolist()
        assert len(set(order)) == len(order) == min(limit, num_images)
    assert choose_order(num_images, None, None).tolist() == list(range(num_images))


@given(st.booleans(), st.integers(0, 3), st.integers(0, 99))
def test_augmentation_equals_moving_and_mirroring_one_by_one(
    flip: bool, shift: int, seed: int
) -> None:
    images = torch.randint(1, 256, (5, 2, 6, 7), generator=generator(seed)).to(torch.uint8)
    got = shift_and_flip(images, Augmentation(flip, shift), generator(seed))
    for image, outcome in zip(images, got, strict=True):
        padded = torch.nn.functional.pad(image, (shift,) * 4)
        possible = [
            padded[:, y : y + 6, x : x + 7]
            for y in range(2 * shift + 1)
            for x in range(2 * shift + 1)
        ]
        possible += [option.flip(2) for option in possible] if flip else []
        assert any(torch.equal(option, outcome) for option in possible)


@pytest.mark.parametrize(("flip", "num_outcomes"), [(True, 18), (False, 9)])
def test_augmentation_reaches_every_place(flip: bool, num_outcomes: int) -> None:
    image = torch.arange(1, 31, dtype=torch.uint8).view(1, 1, 5, 6)
    outcomes = shift_and_flip(image.expand(500, -1, -1, -1), Augmentation(flip, 1), generator(0))
    assert len({tuple(outcome.flatten().tolist()) for outcome in outcomes}) == num_outcomes


def test_own_data_sets_are_taken_as_they_are() -> None:
    images, labels = torch.rand(30, 3, 8, 8), torch.arange(30) % 3
    data = wrap_datasets(
        "mine",
        TensorDataset(images, labels),
        TensorDataset(images[:6], labels[:6]),
        Preprocessing(),
    )
    got, got_labels = next(iter(data.test.batches(6, device="cpu", augment=True)))
    assert torch.equal(got, images[:6])
    assert torch.equal(got_labels, labels[:6])
    assert data.train.num_images == 27
    assert data.labels == ("0", "1", "2")


def _spoil(root: Path, how: str) -> None:
    if how == "labels differ":
        write_images(root / "test" / "cow", 2)
    elif how == "does not decode":
        (root / "train" / "cat" / "003.png").write_bytes(b"no image at all")
    elif how == "truncated":
        path = root / "train" / "cat" / "003.png"
        path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("labels differ", "holds the label cow, which the training part lacks; expected labels"),
        ("does not decode", r"003\.png does not decode"),
        ("truncated", r"003\.png does not decode"),
    ],
)
def test_a_bad_folder_is_one_clear_line(
    how: str, words: str, stream: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(root, how)
    if stream:
        monkeypatch.setattr(folders, "LARGEST_IN_MEMORY", 0)
    with pytest.raises(InputError, match=words) as caught:
        list(open_data(str(root), input_size=20).train.batches(8, device="cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["EPS", "GIF", "ICO"])
def test_only_the_promised_formats_are_opened_whatever_a_file_is_called(
    root: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow hands an EPS to Ghostscript, another program."""
    file = next((root / "train").rglob("*.png"))
    Image.new("RGB", (16, 16)).save(file, format=form)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", pytest.fail)
    for read in (read_size, lambda path: read_image(path, 3)):
        with pytest.raises(InputError, match="expected JPEG, PNG, PPM, BMP, TIFF, WEBP"):
            read(str(file))


@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_every_promised_format_is_opened(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (5, 4), (9, 9, 9)).save(tmp_path / "x.png", format=form)
    assert read_size(str(tmp_path / "x.png")) == (4, 5)
    assert read_image(str(tmp_path / "x.png"), 3).float().mean().round() == 9


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_data(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no label folders"):
        open_data(str(tmp_path))


def test_a_set_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    monkeypatch.setenv("PRUNE_DL_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"could not be downloaded \(no route to host\)"):
        open_data(Trusted("cifar10"))
    with pytest.raises(InputError, match=r"give `data=cifar10` to download them"):
        open_data("cifar10")


def test_downloads_go_to_the_users_cache_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRUNE_DL_DATA", raising=False)
    assert default_root() == user_cache_path("prune-dl", appauthor=False) / "data"
    monkeypatch.setenv("PRUNE_DL_DATA", str(tmp_path))
    assert default_root() == tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"held_out": 1.0}, r"`held_out=1\.0` given; expected a share"),
        ({"held_out": -0.1}, r"`held_out=-0\.1` given"),
        ({"std": (0.0,)}, r"`std=0\.0` given; expected values above 0"),
        ({"mean": (0.1, 0.2)}, "`mean` of 2 values given; expected 1 or 3, one for every channel"),
        ({"input_size": (3, 8, 8), "std": (0.1,)}, "`std` of 1 values given; expected 3"),
        ({"input_size": 0}, "`input_size=0` given; expected 1 to 4096 pixels"),
        (
            {"input_size": (2, 8, 8)},
            "`input_size` of 2 channels given.*expected 1 or 3, as pictures have",
        ),
    ],
)
def test_options_that_do_not_fit(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_data("digits", **arguments)  # type: ignore[arg-type]
