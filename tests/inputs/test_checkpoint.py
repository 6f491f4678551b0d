"""Every form a model comes in, and one clear line for every file that cannot be used."""

import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs import infer, pruned_file, zoo
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.weight_sets import WeightSet
from prune_dl.prune.structure import surgery
from safetensors.torch import save_file
from torch import Tensor, nn

SMALL = "vgg6:in_channels=1"


def random_network(arch: str, num_labels: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return zoo.build(arch, num_labels)


@pytest.fixture(scope="module")
def resnet_state() -> dict[str, Tensor]:
    return random_network("resnet20", 17).state_dict()


@pytest.mark.parametrize("nest", [None, "state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_state_dict_is_found_and_its_architecture_inferred(
    resnet_state: dict[str, Tensor], nest: str | None, prefix: str, tmp_path: Path
) -> None:
    state: dict[str, object] = {prefix + name: value for name, value in resnet_state.items()}
    path = tmp_path / "network.th"
    torch.save(state if nest is None else {"epoch": 3, nest: state, "best": 0.9}, path)
    found = load_checkpoint(str(path))
    assert (found.origin.arch, found.origin.num_labels) == ("resnet20", 17)
    assert found.sha256 is not None
    assert not found.knows_inputs
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, resnet_state[name])


def test_safetensors_and_half_precision_are_read(
    resnet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    half = {n: v.half() if v.is_floating_point() else v for n, v in resnet_state.items()}
    save_file(half, tmp_path / "network.safetensors")
    found = load_checkpoint(str(tmp_path / "network.safetensors"))
    assert found.origin.arch == "resnet20"
    weight = found.model.state_dict()["conv1.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, resnet_state["conv1.weight"].half().float())


def test_a_pruned_network_is_opened_by_its_file_or_its_folder(tmp_path: Path) -> None:
    network = random_network("resnet20", 3)
    origin = Origin("resnet20", 3, "digits")
    name = "layer1.0.conv1.weight"
    cut = {(f"layer1.0.{tensor}", 0): np.arange(9) for tensor in ("conv1.weight", "bn1.weight")}
    cut |= {(f"layer1.0.bn1.{tensor}", 0): np.arange(9) for tensor in ("bias", "running_mean")}
    cut |= {("layer1.0.bn1.running_var", 0): np.arange(9)}
    cut |= {("layer1.0.conv2.weight", 1): np.arange(9)}
    surgery.keep_positions(network, cut)
    pruned_file.save_pruned(tmp_path / "model.safetensors", network, origin, cut, {})
    for spec in (tmp_path, tmp_path / "model.safetensors"):
        found = load_checkpoint(str(spec))
        assert found.origin == origin
        assert found.knows_inputs
        assert found.kept.keys() == cut.keys()
        assert found.model.state_dict()[name].shape == (9, 16, 3, 3)
        images = torch.rand(2, 3, 16, 16)
        assert torch.equal(found.model(images), network(images))


def test_grey_inputs_are_inferred(tmp_path: Path) -> None:
    torch.save(random_network(SMALL, 10).state_dict(), tmp_path / "grey.pt")
    found = load_checkpoint(str(tmp_path / "grey.pt"))
    assert found.origin.arch == SMALL
    assert found.origin.input_size[0] == len(found.origin.mean) == 1


def test_a_torchvision_classifier_with_other_labels_is_inferred(tmp_path: Path) -> None:
    state = random_network("torchvision:shufflenet_v2_x0_5", 7).state_dict()
    torch.save(state, tmp_path / "shuffle.pt")
    origin = load_checkpoint(str(tmp_path / "shuffle.pt")).origin
    assert (origin.arch, origin.num_labels) == ("torchvision:shufflenet_v2_x0_5", 7)


def test_imagenet_weights_know_what_they_are_fed(tmp_path: Path) -> None:
    state = random_network("torchvision:squeezenet1_1", 1000).state_dict()
    torch.save(state, tmp_path / "squeeze.pt")
    found = load_checkpoint(str(tmp_path / "squeeze.pt"))
    assert found.knows_inputs
    assert found.origin.input_size == (3, 224, 224)
    assert found.origin.mean == (0.485, 0.456, 0.406)


def test_a_saved_training_comes_back_with_its_origin_and_without_pickle(tmp_path: Path) -> None:
    origin = Origin(SMALL, 3, "digits", ("a", "b", "c"), (1, 16, 16), (0.3,), (0.2,))
    network = random_network(SMALL, 3)
    save_checkpoint(tmp_path / "own.pt", network, origin)
    assert torch.load(tmp_path / "own.pt", weights_only=True)["origin"]["data"] == "digits"
    found = load_checkpoint(str(tmp_path / "own.pt"))
    assert found.origin == origin
    assert found.knows_inputs
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(found.model(images), network(images))


def test_an_architecture_that_is_given_takes_nothing_else_from_what_a_file_says(
    tmp_path: Path,
) -> None:
    origin = Origin("elsewhere:net", 3, "digits", ("a", "b", "c"), (1, 16, 16), (0.3,), (0.2,))
    save_checkpoint(tmp_path / "own.pt", random_network(SMALL, 3), origin)
    found = load_checkpoint(str(tmp_path / "own.pt"), arch=SMALL)
    assert found.knows_inputs
    assert found.origin == replace(origin, arch=SMALL)


def test_arch_decides_and_says_what_does_not_fit(
    resnet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(resnet_state, tmp_path / "r.pt")
    assert load_checkpoint(str(tmp_path / "r.pt"), arch="resnet20").origin.num_labels == 17
    with pytest.raises(InputError, match=r"is not a resnet32: layer1\.3\.conv1\.weight is missing"):
        load_checkpoint(str(tmp_path / "r.pt"), arch="resnet32")


def test_several_architectures_that_fit_are_named(
    resnet_state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "ZOO_NAMES", ("resnet20", "resnet20:width=1.0"))
    monkeypatch.setattr(zoo, "torchvision_names", lambda: ())
    with pytest.raises(UsageError, match=r"\(resnet20, resnet20:width=1.0\); choose one"):
        infer.infer((WeightSet((), resnet_state),), "r.pt", None)


def test_a_near_miss_names_candidates_and_differences(
    resnet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({**resnet_state, "bn1.weight": torch.ones(12)}, tmp_path / "r.pt")
    with pytest.raises(InputError, match=r"nearest: resnet20.*bn1\.weight is 12 instead of 16"):
        load_checkpoint(str(tmp_path / "r.pt"))


def test_a_pickled_network_needs_trust(tmp_path: Path) -> None:
    torch.save(random_network("resnet20", 4), tmp_path / "whole.pt")
    with pytest.raises(InputError, match="add `trust_pickle`"):
        load_checkpoint(str(tmp_path / "whole.pt"))
    found = load_checkpoint(str(tmp_path / "whole.pt"), trust_pickle=True)
    assert found.origin.num_labels == 4
    assert found.origin.arch is None


def test_a_bare_pickle_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Path("x"), protocol=4))
    with pytest.raises(InputError, match="add `trust_pickle`"):
        load_checkpoint(str(tmp_path / "bare.pt"))


def test_a_stranger_is_held_against_the_nearest(tmp_path: Path) -> None:
    torch.save({"mine.weight": torch.zeros(4, 3), "mine.bias": torch.zeros(4)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"nearest, \S+: .* is missing, .* more; name its"):
        load_checkpoint(str(tmp_path / "x.pt"))


def test_weights_that_are_not_finite_are_refused(
    resnet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    broken = {**resnet_state, "linear.bias": torch.full((17,), float("nan"))}
    torch.save(broken, tmp_path / "nan.pt")
    with pytest.raises(InputError, match="not finite"):
        load_checkpoint(str(tmp_path / "nan.pt"))


def _write_bad(name: str, path: Path) -> None:
    whole = path.with_name("whole.pt")
    torch.save({"a.weight": torch.rand(100, 100), "b": torch.zeros(3)}, whole)
    states = {
        "detector": {"backbone.body.conv1.weight": torch.zeros(4), "rpn.head.x": torch.zeros(3)},
        "language model": {"transformer.wte.weight": torch.zeros(9, 4), "x": torch.zeros(3)},
        "foreign": {"a.weight": torch.zeros(4, 4), "b": torch.zeros(3)},
        "no weights": {"accuracy": 0.9, "epochs": [1, 2]},
        "a list": [1, 2, 3],
    }
    if name == "truncated":
        path.write_bytes(whole.read_bytes()[:20_000])
    elif name == "random bytes":
        path.write_bytes(random.Random(0).randbytes(10_000))
    elif name == "empty":
        path.touch()
    elif name == "folder":
        path.mkdir()
    elif name == "text":
        path.write_text("<html>not found</html>")
    elif name != "missing":
        torch.save(states[name], path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("truncated", "copy or download it again"),
        ("random bytes", "copy or download it again"),
        ("text", "copy or download it again"),
        ("detector", "looks like a detector"),
        ("language model", "looks like a language model"),
        ("foreign", "fits no zoo or torchvision classifier"),
        ("no weights", "without weights"),
        ("a list", "type list"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    name: str, words: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"network{suffix}"
    _write_bad(name, path)
    with pytest.raises(InputError, match=words) as caught:
        load_checkpoint(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 300


def test_a_zoo_name_is_no_model() -> None:
    with pytest.raises(UsageError, match="train `arch=vgg16`"):
        load_checkpoint("vgg16")


def test_random_weights_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", "/nonexistent-prune-dl")
    monkeypatch.setattr("os.makedirs", lambda *args, **kwargs: None)
    with pytest.raises(InputError, match="squeezenet1_1:weights=none"):
        load_checkpoint("torchvision:squeezenet1_1")
    found = load_checkpoint("torchvision:squeezenet1_1:weights=none", num_labels=5)
    assert found.origin.arch == "torchvision:squeezenet1_1"
    assert found.model(torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_labels_of_a_file_cannot_be_changed(tmp_path: Path) -> None:
    torch.save(random_network("resnet20", 4).state_dict(), tmp_path / "r.pt")
    with pytest.raises(UsageError, match="has 4 outputs"):
        load_checkpoint(str(tmp_path / "r.pt"), num_labels=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*zoo.ZOO_NAMES, *(f"torchvision:{name}" for name in zoo.torchvision_names())]
)
def test_every_classifier_is_recognised_by_its_shapes(name: str) -> None:
    state = zoo.build_empty(name, 23).state_dict()
    match = infer.infer((WeightSet((), state),), "file", None)
    assert (match.arch, match.num_labels) == (name, 23)


def test_an_archive_that_claims_several_parts_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(random_network(SMALL, 10), path)
    contents = bytearray(path.read_bytes())
    contents[contents.rindex(b"PK\x06\x07") + 4] = 1  # the disk that its directory is on
    path.write_bytes(contents)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(str(path))
