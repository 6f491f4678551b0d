"""Networks that several test files share, trained once a session on the built-in digits.

What lasts for the session is not written to: a test that writes beside a file copies it first.
"""

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from scenes.jobs import FinishedRun
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture(scope="session")
def trained_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint digits.pt of a small VGG-6, right on more than 85 % of the test images."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("trained") / "digits.pt"
    recipe = ("--epochs", "4", "--batch-size", "64", "--lr", "0.05")
    argv = ["train", "--arch", "vgg6:width=0.125", *recipe, "--out", str(file), "--json"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.run(argv) == 0
    return file


@pytest.fixture
def trained(trained_file: Path) -> tuple[nn.Module, DataLoader[Any]]:
    """That network, anew for every test, and a loader of 600 of its training images."""
    images, labels_N = next(
        iter(open_data("digits").train.batches(600, device="cpu", shuffle_seed=0))
    )
    loader = DataLoader(TensorDataset(images, labels_N), batch_size=64)
    return load_checkpoint(str(trained_file)).model, loader


@pytest.fixture(scope="session")
def finished_run(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The whole job on that network: 60 % of the filters stay, two epochs of retraining."""
    home = tmp_path_factory.mktemp("finished")
    places = ("--out", str(home / "run"), "--hub-folder", str(home / "hub"))
    argv = ["--model", str(trained_file), "--keep", "0.6", "--epochs", "2", *places]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert cli.run([*argv, "--bench-seconds", "0.1"]) == 0
    return FinishedRun(home / "run", home / "hub", out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def shared_convolutions() -> nn.Sequential:
    """Two convolutions and a classifier; `convolutions` gives copies."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 25, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    train = open_data("digits").train
    for seed in range(6):
        for images, labels in train.batches(64, device="cpu", shuffle_seed=seed):
            optimiser.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimiser.step()
    return network.eval()


@pytest.fixture
def convolutions(shared_convolutions: nn.Sequential) -> nn.Sequential:
    """A network of two convolutions that reads digits well, anew for every test."""
    return copy.deepcopy(shared_convolutions)
