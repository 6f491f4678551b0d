import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.errors import InputError
from prune_dl.prune.mechanism.accumulate import GRAM_SAMPLES
from prune_dl.prune.mechanism.memory import layer_bytes, max_features
from prune_dl.prune.mechanism.observe import observe
from prune_dl.prune.mechanism.statistics import (
    LayerStatistics,
    Statistics,
    collect,
    load_statistics,
    merge,
    save_statistics,
)
from prune_dl.prune.mechanism.taps import position_stride
from prune_dl.prune.structure.units import Reader
from scenes.shared_module import NUM_LABELS, Net, Twice, channels, images, in_batches, network
from torch import Tensor, nn


def run(model: nn.Module, x: Tensor, y: Tensor, **readers: Reader) -> Statistics:
    return collect(network(model, **readers), in_batches(x, y))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.double(), rtol=1e-5, atol=1e-5)


def check_sums(layer: LayerStatistics, maps_NCP: Tensor, rows_RC: Tensor, y: Tensor) -> None:
    """Every sum of one layer against its definition."""
    features_ND = maps_NCP.flatten(1).double()
    one_hot_NK = nn.functional.one_hot(y, NUM_LABELS).double()
    rows_R1 = torch.cat([rows_RC.double(), torch.ones(len(rows_RC), 1, dtype=torch.float64)], 1)
    assert torch.equal(layer.counts_K, one_hot_NK.sum(0))
    close(layer.sums_KD, one_hot_NK.T @ features_ND)
    close(layer.gram_DD, features_ND.T @ features_ND)
    close(layer.moments_CC, rows_R1.T @ rows_R1)
    assert layer.num_positions == len(rows_RC)
    assert layer.num_channels == rows_RC.shape[1]


def test_sums_of_a_grouped_convolution_are_the_definition() -> None:
    model, (x, y) = Net(), images(11)
    layer = run(model, x, y).layers["second"]
    seen = model.first(x).relu().detach()
    assert layer.grid == (8, 8)
    check_sums(layer, seen.flatten(2), seen.movedim(1, 3).reshape(-1, 4), y)


def test_sums_of_a_linear_layer_after_a_flatten_are_the_definition() -> None:
    model, (x, y) = Net(), images(11)
    layer = run(model, x, y).layers["last"]
    seen = nn.functional.adaptive_avg_pool2d(model.second(model.first(x).relu()).relu(), 2)
    assert layer.grid == (2, 2)
    check_sums(layer, seen.detach().flatten(2), seen.detach().movedim(1, 3).reshape(-1, 6), y)


def test_a_flatten_of_channels_last_features_is_sorted_by_channel() -> None:
    model, (x_NF, y) = nn.Linear(12, NUM_LABELS), (torch.randn(7, 12), images(7)[1])
    reader = Reader("", np.arange(3), np.tile(np.arange(3), 4), "linear")
    layer = run(model, x_NF, y, **{"": reader}).layers[""]
    by_position = x_NF.unflatten(1, (4, 3))
    check_sums(layer, by_position.transpose(1, 2), by_position.reshape(-1, 3), y)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3), (2, 3, 3)])
def test_tokens_and_channels_last_maps_count_as_positions(shape: tuple[int, ...]) -> None:
    model, y = nn.Linear(3, NUM_LABELS), images(7)[1]
    x = torch.randn(7, *shape)
    layer = run(model, x, y, **{"": channels("", 3, "linear")}).layers[""]
    check_sums(layer, x.reshape(7, -1, 3).transpose(1, 2), x.reshape(-1, 3), y)


def test_features_are_pooled_to_the_finest_grid_within_the_budget() -> None:
    model = nn.Conv2d(600, 1, 1)
    x, y = torch.randn(4, 600, 6, 6), torch.tensor([0, 1, 2, 0])
    layer = run(model, x, y, **{"": channels("", 600)}).layers[""]
    assert layer.grid == (1, 1)
    close(layer.sums_KD, nn.functional.one_hot(y, NUM_LABELS).float().T @ x.mean((2, 3)))


def test_a_module_that_runs_twice_adds_up() -> None:
    model, (x, y) = Twice(), images(6)
    layer = run(model, x, y, conv=channels("conv", 3)).layers["conv"]
    seen = torch.cat([x, model.conv(x).detach()])
    rows = seen.movedim(1, 3).reshape(-1, 3)
    check_sums(layer, seen.flatten(2), rows, torch.cat([y, y]))


def test_inputs_that_fold_windows_repeat_their_label() -> None:
    model = nn.Sequential(nn.Unflatten(1, (4, 3)), nn.Flatten(0, 1), nn.Linear(3, 2))
    x, y = torch.randn(5, 12), images(5)[1]
    layer = run(model, x, y, **{"2": channels("2", 3, "linear")}).layers["2"]
    windows = x.reshape(20, 3)
    check_sums(layer, windows[:, :, None], windows, y.repeat_interleave(4))


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 20), seed=st.integers(0, 99))
def test_two_halves_add_up_to_the_whole(cut: int, seed: int) -> None:
    model, (x, y) = Net(), images(21, seed)
    halves = merge(run(model, x[:cut], y[:cut]), run(model, x[cut:], y[cut:]))
    whole = run(model, x, y)
    assert halves.num_images == whole.num_images == 21
    for name, layer in whole.layers.items():
        close(halves.layers[name].gram_DD, layer.gram_DD)
        close(halves.layers[name].sums_KD, layer.sums_KD)
        close(halves.layers[name].moments_CC, layer.moments_CC)
        assert torch.equal(halves.layers[name].counts_K, layer.counts_K)


def test_more_samples_than_wait_in_the_buffer_are_all_counted() -> None:
    x, y = images(GRAM_SAMPLES + 90)
    layer = run(Net(), x, y).layers["last"]
    assert torch.equal(layer.counts_K, torch.bincount(y).double())


def test_size_does_not_depend_on_the_number_of_images(tmp_path: Path) -> None:
    model = Net()
    for count in (5, 50):
        save_statistics(run(model, *images(count)), tmp_path / f"{count}.safetensors")
    few, many = sorted(tmp_path.iterdir(), key=lambda file: file.name)
    assert abs(few.stat().st_size - many.stat().st_size) < 32


def test_a_file_keeps_every_bit(tmp_path: Path) -> None:
    before = run(Net(), *images(9))
    save_statistics(before, tmp_path / "s.safetensors")
    after = load_statistics(tmp_path / "s.safetensors")
    assert (after.num_labels, after.num_images) == (NUM_LABELS, 9)
    assert list(after.layers) == list(before.layers)
    for name, layer in before.layers.items():
        assert after.layers[name].grid == layer.grid
        for tensor in ("counts_K", "sums_KD", "gram_DD", "moments_CC"):
            assert torch.equal(getattr(after.layers[name], tensor), getattr(layer, tensor))


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.safetensors"):
        load_statistics(path)


def test_statistics_of_two_networks_do_not_merge() -> None:
    x, y = images(5)
    wide = nn.Conv2d(3, 4, 1)
    with pytest.raises(InputError, match="two different networks"):
        merge(run(Net(), x, y), run(wide, x, y, **{"": channels("", 3)}))


def test_the_network_is_left_as_it_was() -> None:
    model, (x, y) = Net(), images(5)
    model.train()
    model.first.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, x, y)
    check_untouched(model, before)


def test_the_network_is_left_as_it_was_after_an_error() -> None:
    model, (x, y) = Net(), images(5)
    model.train()
    model.first.eval()

    def broken() -> Iterator[tuple[Tensor, Tensor]]:
        yield x, y
        raise OSError("the disk is gone")

    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(OSError, match="the disk is gone"):
        collect(network(model), broken())
    check_untouched(model, before)


def check_untouched(model: Net, before: dict[str, Tensor]) -> None:
    assert [m.training for m in (model, model.first, model.second)] == [True, False, True]
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_labels_outside_the_network_are_named() -> None:
    x, y = images(5)
    with pytest.raises(InputError, match=r"labels run from 0 to 3, but the network has 3 outputs"):
        run(Net(), x, torch.tensor([0, 1, 3, 0, 0]))
    with pytest.raises(InputError, match="labels run from -1"):
        run(Net(), x, y - 1 - y.min())


def test_no_images_is_an_error() -> None:
    with pytest.raises(InputError, match="no images"):
        collect(network(Net()), [])


def test_an_input_that_does_not_fit_the_structure_is_named() -> None:
    with pytest.raises(InputError, match=r"second got an input of shape .*; expected 5 channels"):
        run(Net(), *images(5), second=channels("second", 5))


def test_progress_counts_batches() -> None:
    seen: list[tuple[int, int]] = []
    batches = in_batches(*images(10))
    observe(
        network(Net()),
        [],
        batches,
        lambda *_: None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_wide_pointwise_convolutions_take_some_positions_of_every_column() -> None:
    model = nn.Conv2d(512, 64, 1)
    x, y = torch.randn(2, 512, 14, 14), torch.tensor([0, 1])
    layer = run(model, x, y, **{"": channels("", 512)}).layers[""]
    stride = position_stride(x, 64.0 * 512)
    assert stride > 1
    assert math.gcd(stride, 14) == 1
    rows = x.movedim(1, 3).reshape(2, -1, 512)[:, stride // 2 :: stride].reshape(-1, 512)
    assert layer.num_positions == len(rows) > 8192 // 512
    close(layer.moments_CC[:-1, :-1], rows.T @ rows)


@pytest.mark.parametrize("num_labels", [10, 1000])
def test_the_grid_keeps_a_resnet_50_under_a_gigabyte(num_labels: int) -> None:
    widths = [64] * 7 + [256] * 14 + [128] * 8 + [512] * 11 + [1024] * 6 + [2048] * 3
    readers = [channels(str(i), width) for i, width in enumerate(widths)]
    features = max_features(readers, num_labels)
    assert sum(layer_bytes(width, num_labels, features) for width in widths) < 1e9
    assert (features >= 1024) == (num_labels == 10)
