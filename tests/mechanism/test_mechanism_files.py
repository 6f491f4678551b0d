import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.mechanism.files import filter_norms, load_spectrum, save_spectrum, write_filters
from prune_dl.prune.structure.units import Structure
from safetensors import safe_open
from safetensors.torch import save_file
from scenes.bright_quarter import Net, run, structure
from torch import Tensor


@pytest.fixture(scope="module")
def model() -> Net:
    torch.manual_seed(0)
    return Net()


def with_axes() -> Structure:
    units, plain = np.arange(6), structure()
    axes = {("stem.weight", 0): units, ("block.weight", 0): units, ("block.weight", 1): units}
    return Structure(axes, plain.groups[:1], plain.readers)


def test_a_spectrum_survives_its_file_bit_for_bit(model: Net, tmp_path: Path) -> None:
    _, before = run(model)
    save_spectrum(before, tmp_path / "spectrum.safetensors")
    after = load_spectrum(tmp_path / "spectrum.safetensors")
    assert after.depth == before.depth
    assert after.num_labels == before.num_labels
    assert after.groups[1] is None
    old, new = before.groups[0], after.groups[0]
    assert old is not None
    assert new is not None
    for name, value in vars(old).items():
        if isinstance(value, Tensor):
            assert torch.equal(value, getattr(new, name))
        elif isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(new, name))
        elif name != "labels":
            assert getattr(new, name) == value
    assert new.clusters == old.clusters
    assert np.array_equal(new.fields_FKK, old.fields_FKK)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not one")
    with pytest.raises(InputError, match=r"x is not a whole safetensors file"):
        load_spectrum(tmp_path / "x")
    save_file({"x": torch.zeros(1)}, tmp_path / "x")
    with pytest.raises(InputError, match=r"x holds no spectrum; give the spectrum\.safetensors"):
        load_spectrum(tmp_path / "x")


def test_norms_take_in_every_writer(model: Net) -> None:
    (norm_U,) = filter_norms(model, with_axes())
    expected = torch.cat([model.stem.weight.flatten(1), model.block.weight.flatten(1)], 1).norm(
        dim=1
    )
    np.testing.assert_allclose(norm_U, expected.detach().numpy(), rtol=1e-6)


def test_filters_are_listed_with_their_labels(model: Net, tmp_path: Path) -> None:
    _, spectrum = run(model)
    group = spectrum.groups[0]
    assert group is not None
    norms, score = (np.ones(6),), (np.arange(6.0),)
    path = tmp_path / "filters.csv"
    write_filters(path, spectrum, norms, scores=score, kept=((1, 4),), labels=("a", "b", "c", "d"))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kept"] for row in rows] == ["no", "yes", "no", "no", "yes", "no"]
    assert [float(row["score"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    for unit, row in enumerate(rows):
        names = [
            ["abcd".index(x) for x in part.split(" + ")]
            for part in row["clusters"].split(" | ")
            if part
        ]
        assert tuple(map(tuple, names)) == group.clusters[unit]
        assert float(row["snr"]) == group.snr_F[unit]


def test_a_number_of_labels_beyond_all_memory_is_refused(model: Net, tmp_path: Path) -> None:
    _, before = run(model)
    file = tmp_path / "spectrum.safetensors"
    save_spectrum(before, file)
    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
        tensors = {name: opened.get_tensor(name) for name in names}
        metadata = opened.metadata()
    head = json.loads(metadata["head"]) | {"num_labels": 10**15, "labels_without_held_out": [3]}
    save_file(tensors, file, metadata | {"head": json.dumps(head)})
    with pytest.raises(InputError, match=r"spectrum\.safetensors"):
        load_spectrum(file)
