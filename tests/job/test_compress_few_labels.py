"""`compress` with labels to keep: the network that comes back, and its file."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune import compress, load
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from torch import nn
from torch.utils.data import DataLoader

Trained = tuple[nn.Module, DataLoader[Any]]


def test_the_classifier_is_cut_and_the_file_fits_a_whole_network(
    trained: Trained, trained_file: Path, tmp_path: Path
) -> None:
    model, loader = trained
    before = copy.deepcopy(model.state_dict())
    found = compress(model, loader, 10, labels_kept=[8, "3"], keep=0.5, epochs=0, images=400)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    images, labels_N = loader.dataset[:]
    kept = (labels_N == 3) | (labels_N == 8)
    with torch.no_grad():
        answers = found.model(images[kept]).argmax(1)
    assert (answers == (labels_N[kept] == 8)).float().mean() > 0.9
    assert any(text.startswith("labels kept: 3, 8 of 10") for text in found.warnings)
    found.save(tmp_path / "few.safetensors")
    whole = load_checkpoint(str(trained_file)).model
    again = load(tmp_path / "few.safetensors", whole)
    assert torch.equal(again(images), found.model(images))


def test_all_labels_are_kept_where_none_are_named(trained: Trained, tmp_path: Path) -> None:
    model, loader = trained
    found = compress(model, loader, 10, keep=0.8, epochs=0, images=300)
    assert found.given.came_in.origin.labels_kept == ()
    assert found.model(next(iter(loader))[0]).shape[1] == 10


def test_a_number_that_is_no_label_is_refused(trained: Trained) -> None:
    model, loader = trained
    with pytest.raises(UsageError, match=r"`labels_kept=10` given, which is no label"):
        compress(model, loader, 10, labels_kept=[3, 10], keep=0.5)
