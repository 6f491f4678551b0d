"""From Python: what `shrink`, `rank` and `compress` give back, and what they leave alone."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune import compress, load, rank, shrink
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.zoo import build
from scenes.bright_quarter import images
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ARCH = "vgg6:in_channels=1,width=0.125"
PROBE_IMAGES = 50
"""So few that a probe reads 80 % of the digits off the first layer, not 95 % off every layer."""
RISE = 0.08
"""Success rate that the last layers are better by; five trainings rose by 0.12 to 0.15."""


def test_shrink_needs_no_data_and_leaves_the_network_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten())
    before = copy.deepcopy(network.state_dict())
    small = shrink(network, torch.randn(2, 3, 8, 8), keep=0.5)
    assert small.certificate.ok
    assert small.model[0].out_channels == 8
    assert small.kept_whole.keys() == {"2"}
    assert all(map(torch.equal, before.values(), network.state_dict().values()))


def test_compress_works_on_the_users_own_loader_and_its_file_comes_back(
    trained: tuple[nn.Module, DataLoader[Any]], tmp_path: Path
) -> None:
    model, loader = trained
    result = compress(model, loader, 10, keep=0.6, epochs=1)
    assert result.outcome.certificate.ok
    result.save(tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors", build(ARCH, 10))
    shown = next(iter(loader))[0][:4]
    with torch.inference_mode():
        # The memory format differs, so the last bits may.
        torch.testing.assert_close(again(shown), result.model.cpu().eval()(shown))


def rise_with_depth(model: nn.Module, *, shuffled: bool = False) -> float:
    """Mean success rate of the last third of the layers minus that of the first third."""
    data = open_data("digits")
    train = next(iter(data.train.batches(PROBE_IMAGES, device="cpu", shuffle_seed=0)))
    test = next(iter(data.test.batches(1000, device="cpu")))
    if shuffled:
        generator = torch.Generator().manual_seed(0)
        train, test = (
            (x, y[torch.randperm(len(y), generator=generator)]) for x, y in (train, test)
        )
    rates = [point.success_rate for point in rank(model, [train], [test], 10).depth]
    assert len(rates) == 5
    third = round(len(rates) / 3)
    return sum(rates[-third:]) / third - sum(rates[:third]) / third


def test_rank_sees_labels_get_clearer_with_depth_in_a_trained_network(trained_file: Path) -> None:
    assert rise_with_depth(load_checkpoint(str(trained_file)).model) > RISE


def test_rank_sees_no_such_rise_without_training_or_with_shuffled_labels(
    trained_file: Path,
) -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="no more than chance .* number labels, in another way"):
        assert rise_with_depth(build(ARCH, 10)) < 0
    with pytest.warns(UserWarning, match="no more than chance"):
        assert rise_with_depth(load_checkpoint(str(trained_file)).model, shuffled=True) < RISE / 2


def mixed_modes() -> nn.Sequential:
    """A network in training whose first batch norm its owner has frozen."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    network.train()
    network[1].eval()
    return network


def modes_of(network: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in network.named_modules()}


def loader_of_quarters() -> DataLoader[tuple[Tensor, ...]]:
    pixels, labels = (torch.cat(parts) for parts in zip(*images(128, 0), strict=True))
    return DataLoader(TensorDataset(pixels, labels), batch_size=32)


@pytest.mark.filterwarnings("ignore:the network gets")
@pytest.mark.parametrize("work", ["shrink", "rank", "compress"])
def test_every_module_of_the_users_network_keeps_its_mode_and_its_running_means(work: str) -> None:
    network = mixed_modes()
    modes, before = modes_of(network), copy.deepcopy(network.state_dict())
    assert len(set(modes.values())) == 2
    if work == "shrink":
        shrink(network, images(8, 0)[0][0], keep=0.5)
    elif work == "rank":
        rank(network, images(64, 0), images(64, 1), 4)
    else:
        compress(network, loader_of_quarters(), 4, keep=0.5, epochs=1)
    assert modes_of(network) == modes
    assert all(map(torch.equal, before.values(), network.state_dict().values()))


def test_the_smaller_network_has_the_modes_of_the_one_it_was_made_from() -> None:
    network = mixed_modes()
    assert modes_of(shrink(network, images(8, 0)[0][0], keep=0.5).model) == modes_of(network)
