"""The bounded sample of one pass: which images it keeps, and that it keeps them faithfully."""

from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.mechanism import memory
from prune_dl.prune.mechanism.memory import SAMPLE_BYTES, sample_grids
from prune_dl.prune.mechanism.sample import (
    SAMPLE_TENSORS,
    LayerSample,
    image_keys,
    quantise_features,
)
from prune_dl.prune.mechanism.statistics import (
    Statistics,
    collect,
    load_statistics,
    merge,
    save_statistics,
)
from prune_dl.prune.mechanism.taps import even_grids
from prune_dl.prune.structure.units import Reader
from scenes.shared_module import READERS, Net, Twice, channels, images, in_batches, network
from torch import Tensor, nn

LIMIT = 7


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SAMPLES", LIMIT)
    monkeypatch.setattr(memory, "SAMPLES_PER_LABEL", 1)


def sampled(model: nn.Module, x: Tensor, y: Tensor, size: int = 4, **readers: Reader) -> Statistics:
    return collect(network(model, **readers), in_batches(x, y, size), sampled=True)


def sample_of(statistics: Statistics, layer: str) -> LayerSample:
    sample = statistics.layers[layer].sample
    assert sample is not None
    return sample


def test_the_images_with_the_lowest_keys_are_kept_to_half_a_step() -> None:
    model, (x, y) = Net(), images(23)
    sample = sample_of(sampled(model, x, y), "second")
    order = image_keys(x).argsort()[:LIMIT]
    assert torch.equal(sample.keys_S, image_keys(x)[order])
    assert torch.equal(sample.labels_S, y[order])
    assert (sample.grid, sample.cell_area) == ((8, 8), 1)
    seen_SD = model.first(x[order]).relu().flatten(1).detach()
    step_S = seen_SD.amax(1) / 127
    assert ((sample.features() - seen_SD).abs() <= 0.501 * step_S[:, None]).all()


def test_no_image_has_a_better_chance_than_another() -> None:
    keys = image_keys(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)))
    assert len(keys.unique()) == 4000
    share = np.histogram(keys.numpy() / 2.0**63, bins=8, range=(0, 1))[0] / 4000
    assert np.abs(share - 1 / 8).max() < 4 * (1 / 8 * 7 / 8 / 4000) ** 0.5


def test_order_and_batches_do_not_matter() -> None:
    model, (x, y) = Net(), images(23)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1))
    first, second = sampled(model, x, y), sampled(model, x[order], y[order], size=11)
    for name in READERS:
        same_sample(sample_of(first, name), sample_of(second, name))


def same_sample(a: LayerSample, b: LayerSample) -> None:
    """Equal but for the rounding of a level, which the batch's size may turn."""
    assert torch.equal(a.keys_S, b.keys_S)
    assert torch.equal(a.labels_S, b.labels_S)
    torch.testing.assert_close(a.steps_S, b.steps_S)
    assert (a.levels_SD.int() - b.levels_SD.int()).abs().max() <= 1


@pytest.mark.parametrize("cut", [2, 12, 20])
def test_two_halves_merge_into_the_sample_of_the_whole(cut: int, tmp_path: Path) -> None:
    model, (x, y) = Net(), images(23)
    save_statistics(sampled(model, x[:cut], y[:cut]), tmp_path / "a")
    both = merge(load_statistics(tmp_path / "a"), sampled(model, x[cut:], y[cut:]))
    whole = sampled(model, x, y)
    for name in READERS:
        assert len(sample_of(both, name).keys_S) == LIMIT
        same_sample(sample_of(both, name), sample_of(whole, name))


def test_a_file_keeps_every_bit_of_the_sample(tmp_path: Path) -> None:
    before = sampled(Net(), *images(9))
    save_statistics(before, tmp_path / "s.safetensors")
    after = load_statistics(tmp_path / "s.safetensors")
    for name in READERS:
        a, b = sample_of(before, name), sample_of(after, name)
        assert (a.grid, a.cell_area, a.limit) == (b.grid, b.cell_area, b.limit)
        assert all(torch.equal(getattr(a, tensor), getattr(b, tensor)) for tensor in SAMPLE_TENSORS)


def test_with_and_without_a_sample_do_not_merge() -> None:
    model, (x, y) = Net(), images(5)
    plain = collect(network(model), [(x, y)])
    with pytest.raises(InputError, match="with and without samples"):
        merge(plain, sampled(model, x, y))


def test_samples_of_two_input_sizes_do_not_merge() -> None:
    model, y = nn.Conv2d(2000, 1, 1), torch.tensor([0, 1])  # wide: its sums are of a 1 x 1 grid
    small, large = (
        sampled(model, torch.randn(2, 2000, side, side), y, **{"": channels("", 2000)})
        for side in (4, 6)
    )
    assert small.layers[""].grid == large.layers[""].grid
    with pytest.raises(InputError, match="two different networks, input sizes"):
        merge(small, large)


def test_the_sums_are_the_same_and_a_stream_is_read_once() -> None:
    model, (x, y) = Net(), images(23)
    stream = iter(in_batches(x, y))
    with_sample = collect(network(model), stream, sampled=True)
    without = collect(network(model), in_batches(x, y))
    assert with_sample.num_images == 23
    for name in READERS:
        assert torch.equal(with_sample.layers[name].gram_DD, without.layers[name].gram_DD)
        assert without.layers[name].sample is None


def test_no_images_is_an_error_with_samples_too() -> None:
    with pytest.raises(InputError, match="no images"):
        collect(network(Net()), [], sampled=True)


def test_windows_of_an_image_are_samples_of_their_own() -> None:
    model = nn.Sequential(nn.Unflatten(1, (4, 3)), nn.Flatten(0, 1), nn.Linear(3, 2))
    x, y = torch.randn(1, 12), torch.tensor([2])
    sample = sample_of(sampled(model, x, y, **{"2": channels("2", 3, "linear")}), "2")
    assert len(sample.keys_S.unique()) == 4
    assert sample.labels_S.tolist() == [2] * 4
    order, seen = sample.features()[:, 0].argsort(), x.reshape(4, 3)
    expected = seen[seen[:, 0].argsort()]
    torch.testing.assert_close(sample.features()[order], expected, atol=0.02, rtol=0)


def test_a_module_that_runs_twice_gives_two_samples() -> None:
    model, (x, y) = Twice(), images(3)
    sample = sample_of(sampled(model, x, y, conv=channels("conv", 3)), "conv")
    assert len(sample.keys_S.unique()) == 6
    first_run = sample.keys_S[:, None].eq(image_keys(x)).any(1)
    assert first_run.sum() == 3
    seen = {
        bool(mine): sample.features()[first_run == mine].sort(0).values for mine in (True, False)
    }
    torch.testing.assert_close(seen[True], x.flatten(1).sort(0).values, atol=0.05, rtol=0)
    second = model.conv(x).detach().flatten(1).sort(0).values
    torch.testing.assert_close(seen[False], second, atol=0.05, rtol=0)


def test_a_map_of_zeros_stays_zero() -> None:
    levels, steps = quantise_features(torch.zeros(2, 5))
    assert not levels.any()
    assert not steps.any()


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        ((8, 8), ((1, 1), (2, 2), (4, 4), (8, 8))),
        ((14, 14), ((1, 1), (2, 2), (7, 7), (14, 14))),
        ((6, 4), ((1, 1), (3, 2), (6, 4))),
        ((1, 6), ((1, 1), (1, 2), (1, 3), (1, 6))),
        ((1, 1), ((1, 1),)),
    ],
)
def test_cells_are_equal_in_size(size: tuple[int, int], grids: tuple[tuple[int, int], ...]) -> None:
    assert even_grids(*size) == grids


def test_the_coarsest_layer_is_refined_first_and_all_stay_within_the_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"middle": (64, 8, 8), "early": (64, 32, 32), "late": (512, 2, 2)}
    expected = {
        64 + 64 + 512: {"early": (1, 1), "middle": (1, 1), "late": (1, 1)},
        4 * 64 + 64 + 512: {"early": (2, 2), "middle": (1, 1), "late": (1, 1)},
        16 * 64 + 4 * 64 + 512: {"early": (4, 4), "middle": (2, 2), "late": (1, 1)},
        10**6: {"early": (32, 32), "middle": (8, 8), "late": (2, 2)},
    }
    equals = {"wide": (512, 2, 2), "narrow": (64, 2, 2)}
    monkeypatch.setattr(memory, "SAMPLE_BYTES", (LIMIT + 4 * 3) * (512 + 4 * 64))
    assert sample_grids(equals, 3) == (LIMIT, {"wide": (1, 1), "narrow": (2, 2)})
    for features, grids in expected.items():
        monkeypatch.setattr(memory, "SAMPLE_BYTES", (LIMIT + 4 * 3) * features)
        assert sample_grids(sizes, num_labels=3) == (LIMIT, grids)


@pytest.mark.parametrize("num_labels", [10, 1000])
def test_samples_of_a_resnet_50_stay_within_their_memory(
    num_labels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    widths = [64] * 7 + [256] * 14 + [128] * 8 + [512] * 11 + [1024] * 6 + [2048] * 3
    sides = [56] * 14 + [28] * 14 + [14] * 14 + [7] * 7
    sizes = {str(i): (c, s, s) for i, (c, s) in enumerate(zip(widths, sides, strict=True))}
    limit, grids = sample_grids(sizes, num_labels)
    features = sum(sizes[name][0] * h * w for name, (h, w) in grids.items())
    assert features * (limit + 4 * num_labels) <= SAMPLE_BYTES
    assert limit == 3000 if num_labels == 10 else 4 * num_labels < limit < 8 * num_labels
