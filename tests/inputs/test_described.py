"""Folders of timm and Hugging Face: what stands beside weights is read, as data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs import described
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from safetensors.torch import save_file
from torch import nn

timm = pytest.importorskip("timm")
NAME, LABELS = "test_resnet", ("cat", "dog", "cow")
INPUTS = {
    "input_size": [3, 96, 64],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "crop_pct": 1.0,
    "interpolation": "bicubic",
}
CONFIG = {
    "architecture": NAME,
    "num_classes": 3,
    "label_names": list(LABELS),
    "pretrained_cfg": INPUTS,
}


def network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(NAME, num_classes=3, **options)
    return made.eval()


def write(folder: Path, config: Mapping[str, Any], model: nn.Module, name: str) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    path = folder / name
    state = model.state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "mine.pt"])
def test_a_timm_folder_says_architecture_labels_and_inputs(name: str, tmp_path: Path) -> None:
    model = network()
    path = write(tmp_path, CONFIG, model, name)
    for spec in (path, *([tmp_path] if name != "mine.pt" else [])):
        found = load_checkpoint(str(spec))
        origin = found.origin
        assert (origin.arch, origin.labels, origin.num_labels) == (f"timm:{NAME}", LABELS, 3)
        assert (origin.input_size, origin.mean, origin.std) == (
            (3, 96, 64),
            (0.1, 0.2, 0.3),
            (0.4, 0.5, 0.6),
        )
        assert found.knows_inputs
        assert "input size, mean and std of the network are those that" in found.notes[0]
        assert "crop_pct=1" in found.notes[1]
        images = torch.rand(2, 3, 96, 64)
        assert found.model(images).equal(model(images))


def test_what_timm_saves_is_opened(tmp_path: Path) -> None:
    hub = pytest.importorskip("timm.models._hub")
    model = network(global_pool="max", in_chans=1)
    hub.save_for_hf(model, tmp_path, safe_serialization=True)
    found = load_checkpoint(str(tmp_path))
    assert found.origin.arch == f"timm:{NAME}:in_channels=1,global_pool=max"
    images = torch.rand(2, 1, 64, 64)
    assert found.model(images).equal(model(images))


def test_the_user_s_architecture_is_taken_before_the_folder_s(tmp_path: Path) -> None:
    path = write(tmp_path, {**CONFIG, "architecture": "resnet50"}, network(), "model.safetensors")
    with pytest.raises(InputError, match="is not a timm:resnet50"):
        load_checkpoint(str(path))
    found = load_checkpoint(str(path), arch=f"timm:{NAME}")
    assert (found.origin.arch, found.origin.mean) == (f"timm:{NAME}", (0.1, 0.2, 0.3))


def test_another_network_s_config_beside_a_file_is_told_and_not_used(tmp_path: Path) -> None:
    from prune_dl.prune.inputs import zoo

    path = write(tmp_path, CONFIG, zoo.build("resnet20", 4), "other.pt")
    found = load_checkpoint(str(path))
    assert found.origin.arch == "resnet20"
    assert not found.knows_inputs
    assert "is not of other.pt and was not used" in found.notes[0]
    (tmp_path / "config.json").write_text("{")
    assert load_checkpoint(str(path)).notes == ()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architecture": "os:system"}, "runs code from elsewhere"),
        ({"architecture": "hf-hub:someone/net"}, "runs code from elsewhere"),
        ({"model_args": {"pretrained_cfg_overlay": "x"}}, "expected an option that files may set"),
        ({"model_args": {"act_layer": {"a": 1}}}, "does not follow"),
        ({"pretrained_cfg": {"mean": "x", "std": [1, 1, 1]}}, "says mean, which"),
        ({"pretrained_cfg": {"mean": [0, 0, 0], "std": [0, 1, 1]}}, "std of 0"),
        ({"architecture": 3}, "fits no"),
    ],
)
def test_what_a_config_says_is_data(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    write(tmp_path, {**CONFIG, **config}, network(), "model.safetensors")
    with pytest.raises(InputError, match=words) as caught:
        load_checkpoint(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_shards_are_put_together_by_their_index(tmp_path: Path) -> None:
    model = network()
    state = list(model.state_dict().items())
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for file, part in zip(files, (state[:9], state[9:]), strict=True):
        torch.save(dict(part), tmp_path / file)
    index = {"weight_map": {n: files[i >= 9] for i, (n, _) in enumerate(state)}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    images = torch.rand(2, 3, 64, 64)
    assert load_checkpoint(str(tmp_path)).model(images).equal(model(images))
    index["weight_map"]["x"] = "../outside.bin"
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"names \.\./outside\.bin, which is not in its folder"):
        load_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("processor", "mean", "std", "size"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": 48}, 0.5, 0.25, (48, 48)),
        (
            {"image_mean": [1.0] * 3, "image_std": [1.0] * 3, "rescale_factor": 1 / 127.5},
            0.5,
            0.5,
            (96, 64),
        ),
        (
            {"do_normalize": False, "rescale_factor": 1 / 255, "size": {"height": 8, "width": 9}},
            0.0,
            1.0,
            (8, 9),
        ),
        (
            {"image_mean": [127.5] * 3, "image_std": [51.0] * 3, "do_rescale": False},
            0.5,
            0.2,
            (96, 64),
        ),
    ],
)
def test_a_preprocessor_says_the_scale_of_pixels_in_0_to_1(
    processor: dict[str, Any], mean: float, std: float, size: tuple[int, int], tmp_path: Path
) -> None:
    write(tmp_path, CONFIG, network(), "model.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    origin = load_checkpoint(str(tmp_path)).origin
    assert origin.mean == pytest.approx((mean,) * 3)
    assert origin.std == pytest.approx((std,) * 3)
    assert origin.input_size == (3, *size)


def test_a_folder_of_transformers_asks_for_the_library_or_is_opened(tmp_path: Path) -> None:
    config = {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}
    write(tmp_path, config, network(), "model.safetensors")
    with pytest.raises(InputError, match="transformers") as caught:
        load_checkpoint(str(tmp_path))
    assert "\n" not in str(caught.value)
    write(tmp_path, {**config, "auto_map": {"x": "evil.Net"}}, network(), "model.safetensors")
    with pytest.raises(InputError, match="with auto_map, which names code"):
        load_checkpoint(str(tmp_path))


def test_a_classifier_of_transformers_is_opened(tmp_path: Path) -> None:
    library = pytest.importorskip("transformers")
    config = library.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3, layer_type="basic"
    )
    model = library.ResNetForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    found = load_checkpoint(str(tmp_path))
    images = torch.rand(2, 3, 64, 64)
    assert found.model(images).logits.equal(model(images).logits)
    assert found.origin.arch is None
    assert found.origin.num_labels == 3


def test_a_folder_of_this_tool_says_nothing_more(tmp_path: Path) -> None:
    config = {**CONFIG, "library_name": "prune-dl"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert described.read_described(tmp_path) is None
