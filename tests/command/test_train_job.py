"""`prune-dl train`: the seed decides the network."""

import json
from pathlib import Path

import torch
from prune_dl.prune.command.train import run_train
from prune_dl.prune.command.trees import Train
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.options import RetrainOptions, RunOptions
from scenes.recorder import Recorder
from torch import Tensor


def trained(out: Path, seed: int) -> Tensor:
    """Weights after one epoch on the digits."""
    torch.rand(out.name.count("o"))  # torch's own generator stands elsewhere every time
    options = Train(
        "vgg6:width=0.05",
        train=RetrainOptions(epochs=1, distill=False),
        run=RunOptions(out=out, device="cpu", seed=seed),
        track="scenes.recorder:Recorder",
    )
    run_train(options)
    model = load_checkpoint(str(out)).model
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_every_epoch_is_a_row_and_goes_to_the_tracker(tmp_path: Path) -> None:
    trained(tmp_path / "o.pt", 0)
    rows = (tmp_path / "o.metrics.jsonl").read_text().splitlines()
    first, last = map(json.loads, rows)
    assert (first["stage"], first["epoch"], last["stage"]) == ("train", 1, "final")
    assert (Recorder.last.name, Recorder.last.ended) == ("o", [False])
    assert ("train/loss", first["loss"], 1) in Recorder.last.figures
    assert ("final/test_top1", last["test_top1"], 0) in Recorder.last.figures


def test_the_same_seed_trains_the_same_network(tmp_path: Path) -> None:
    first, again, other = (
        trained(tmp_path / name, seed) for name, seed in (("o.pt", 0), ("oo.pt", 0), ("x.pt", 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
