"""`prune-dl train`: the seed decides the network."""

from pathlib import Path

import torch
from prune_dl.prune.command.train import run_train
from prune_dl.prune.command.trees import Train
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.options import RetrainOptions, RunOptions
from torch import Tensor


def trained(out: Path, seed: int) -> Tensor:
    """Weights after one epoch on the digits."""
    torch.rand(out.name.count("o"))  # torch's own generator stands elsewhere every time
    options = Train(
        "vgg6:width=0.05",
        train=RetrainOptions(epochs=1, distill=False),
        run=RunOptions(out=out, device="cpu", seed=seed),
    )
    run_train(options)
    model = load_checkpoint(str(out)).model
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_the_same_seed_trains_the_same_network(tmp_path: Path) -> None:
    first, again, other = (
        trained(tmp_path / name, seed) for name, seed in (("o.pt", 0), ("oo.pt", 0), ("x.pt", 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
