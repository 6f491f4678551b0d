"""The file of a smaller network: rebuilt from it alone, bit for bit, and refused when damaged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.prune.forward import call, tensors_of
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.pruned_file import (
    compose,
    is_pruned_file,
    load_pruned,
    read_pruned_file,
    save_pruned,
)
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from safetensors import safe_open
from safetensors.torch import save_file
from scenes import structure_zoo as zoo
from torch import Tensor, nn

ORIGIN = Origin("resnet20", 10, data="cifar10", labels=tuple("abcdefghij"), mean=(0.1, 0.2, 0.3))


def every_other(structure: Structure) -> Plan:
    lines = [(g.name, len(g.units), tuple(range(0, len(g.units), 2))) for g in structure.groups]
    return Plan(tuple(LayerPlan(*line) for line in lines))


def smaller_resnet() -> tuple[nn.Module, dict[tuple[str, int], np.ndarray], Tensor]:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = zoo.randomise(build("resnet20", 10))
    structure = trace(model, images)
    plan = every_other(structure)
    return remove(model, Cut(structure, plan)), Cut(structure, plan).kept, images


def test_a_file_rebuilds_its_network_bit_for_bit(tmp_path: Path) -> None:
    smaller, kept, images = smaller_resnet()
    path = tmp_path / "model.safetensors"
    save_pruned(path, smaller, ORIGIN, kept, {"plan": "0123"})
    found = read_pruned_file(path)
    assert is_pruned_file(path)
    assert (found.origin, found.notes) == (ORIGIN, {"plan": "0123"})
    assert found.kept.keys() == kept.keys()
    with torch.no_grad():
        assert torch.equal(load_pruned(path)(images), smaller(images))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_pruned_network_is_pruned_again(tmp_path: Path) -> None:
    smaller, kept, images = smaller_resnet()
    structure = trace(smaller, images)
    plan = every_other(structure)
    smallest = remove(smaller, Cut(structure, plan))
    assert sum(p.numel() for p in smallest.parameters()) < 0.5 * sum(
        p.numel() for p in smaller.parameters()
    )
    both = compose(kept, Cut(structure, plan).kept)
    save_pruned(tmp_path / "x.safetensors", smallest, ORIGIN, both, {})
    with torch.no_grad():
        assert torch.equal(load_pruned(tmp_path / "x.safetensors")(images), smallest(images))


@pytest.mark.parametrize("make", zoo.EXACT, ids=lambda make: make.__name__)
def test_a_nameless_network_is_rebuilt_in_a_fresh_one(
    make: Callable[[], zoo.Built], tmp_path: Path
) -> None:
    model, inputs = make()
    fresh, _ = make()
    zoo.randomise(model)
    structure = trace(model, inputs)
    plan = every_other(structure)
    smaller = remove(model, Cut(structure, plan))
    path = tmp_path / "x.safetensors"
    save_pruned(path, smaller, Origin(None, 5), Cut(structure, plan).kept, {})
    rebuilt = load_pruned(path, fresh)
    with torch.no_grad():
        outputs = [tensors_of(call(net, inputs)) for net in (rebuilt, smaller)]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    with pytest.raises(ValueError, match="names no architecture; give a fresh network of the arch"):
        load_pruned(path)


def test_a_bias_from_repair_comes_back(tmp_path: Path) -> None:
    smaller, kept, images = smaller_resnet()
    layer = smaller.get_submodule("layer1.0.conv1")
    layer.register_parameter("bias", nn.Parameter(torch.rand(layer.weight.shape[0])))
    save_pruned(tmp_path / "x.safetensors", smaller, ORIGIN, kept, {})
    with torch.no_grad():
        assert torch.equal(load_pruned(tmp_path / "x.safetensors")(images), smaller(images))


def test_equal_networks_give_equal_files(tmp_path: Path) -> None:
    smaller, kept, _ = smaller_resnet()
    path, notes = tmp_path / "x.safetensors", {"plan": "0123", "words": "größer \u20ac"}
    contents = set()
    for _ in range(8):
        save_pruned(path, smaller, ORIGIN, kept, notes)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert read_pruned_file(path).notes == notes


def test_no_pickle_and_plain_names(tmp_path: Path) -> None:
    smaller, kept, _ = smaller_resnet()
    path = tmp_path / "x.safetensors"
    save_pruned(path, smaller, ORIGIN, kept, {})
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        assert file.metadata()["version"] == "1"
    assert set(smaller.state_dict()) <= names
    assert {n.split(":")[0] for n in names - set(smaller.state_dict())} == {"kept"}


def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path) -> None:
    smaller, kept, _ = smaller_resnet()
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_pruned(path, smaller, ORIGIN, kept, {})
    other.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_pruned(other)
    assert not is_pruned_file(other)
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match="but not which filters of which architecture"):
        load_pruned(other)
    save_file({"x": torch.zeros(1)}, other, {"format": "prune-dl", "version": "9"})
    with pytest.raises(ValueError, match=r"version 9; this release reads 1; update prune-dl"):
        load_pruned(other)
    with pytest.raises(ValueError, match="give the architecture that they were computed for"):
        load_pruned(path, zoo.plain()[0])
    with pytest.raises(ValueError, match="cannot be written"):
        save_pruned(path / "x.safetensors", smaller, ORIGIN, kept, {})
