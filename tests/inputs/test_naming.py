"""Weights under the names of wrappers, beside what a training keeps, in several sets."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.checkpoint import Checkpoint, load_checkpoint
from prune_dl.prune.inputs.naming import FileNames
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

State = dict[str, Tensor]
LABELS = 5


def state_of(seed: int, arch: str = "resnet20") -> State:
    return dict(zoo.build(arch, LABELS, seed).state_dict())


@pytest.fixture(scope="module")
def raw() -> State:
    return state_of(0)


@pytest.fixture(scope="module")
def averaged() -> State:
    return state_of(1)


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def opened(path: Path, contents: Any, **options: Any) -> Checkpoint:
    torch.save(contents, path / "c.pt")
    return load_checkpoint(str(path / "c.pt"), **options)


def has_weights_of(found: Checkpoint, state: State) -> bool:
    own = found.model.state_dict()
    return own.keys() == state.keys() and all(own[name].equal(state[name]) for name in own)


@pytest.mark.parametrize("arch", [None, "resnet20"])
@pytest.mark.parametrize(
    "prefix", ["backbone.", "net.", "student.", "my.own.net._orig_mod.module.", "layer1.linear."]
)
def test_any_prefix_is_found(prefix: str, arch: str | None, raw: State, tmp_path: Path) -> None:
    found = opened(tmp_path, {"state_dict": under(prefix, raw)}, arch=arch)
    assert (found.origin.arch, found.notes) == ("resnet20", ())
    assert has_weights_of(found, raw)


def test_wrappers_in_the_middle_are_found(raw: State, tmp_path: Path) -> None:
    wrapped = {n.replace("layer2.", "layer2._orig_mod."): v for n, v in under("net.", raw).items()}
    assert has_weights_of(opened(tmp_path, wrapped), raw)


def test_a_backbone_and_a_head_under_two_names_are_put_together(raw: State, tmp_path: Path) -> None:
    parts = {("head." if "linear" in n else "backbone.") + n: v for n, v in raw.items()}
    assert has_weights_of(opened(tmp_path, parts), raw)


def test_what_belongs_to_no_layer_is_left_out_and_told(raw: State, tmp_path: Path) -> None:
    beside = {
        "criterion.weight": torch.ones(LABELS),
        "loss.net.conv.weight": torch.ones(3, 3, 3, 3),
        "metric.confusion": torch.zeros(LABELS, LABELS, dtype=torch.int64),
    }
    found = opened(tmp_path, {"state_dict": {**under("model.", raw), **beside}})
    assert has_weights_of(found, raw)
    assert "left out of" in found.notes[0]
    assert "3 tensors that belong to no layer of the network (criterion.weight" in found.notes[0]


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("head.weight", (LABELS, 64)),
        ("norm.running_mean", (64,)),
        ("layer1.3.conv1.weight", (16, 16, 3, 3)),
    ],
)
def test_a_layer_that_the_network_does_not_have_is_refused(
    prefix: str, name: str, shape: tuple[int, ...], raw: State, tmp_path: Path
) -> None:
    more = {**under(prefix, raw), prefix + name: torch.ones(shape)}
    with pytest.raises(InputError, match=rf"{name} is not part of it"):
        opened(tmp_path, more, arch="resnet20")
    with pytest.raises(InputError, match=r"holds more layers than a resnet20.*alone"):
        opened(tmp_path, {**under("a.", raw), "b.head.weight": torch.ones(3, 3)}, arch="resnet20")


def test_a_missing_tensor_is_refused_under_any_prefix(raw: State, tmp_path: Path) -> None:
    less = {n: v for n, v in under("net.", raw).items() if not n.endswith("linear.bias")}
    for arch in (None, "resnet20"):
        with pytest.raises(InputError, match=r"linear.bias is missing"):
            opened(tmp_path, less, arch=arch)


def averaged_by(maker: str, raw: State, averaged: State) -> Any:
    if maker == "timm":
        return {"state_dict": raw, "state_dict_ema": averaged}
    if maker == "torchvision":
        ema = {"n_averaged": torch.tensor(3), **under("module.", averaged)}
        return {"model": raw, "model_ema": ema, "optimizer": {"state": {}, "param_groups": []}}
    if maker == "Lightning":
        return {
            "current_model_state": under("model.", raw),
            "state_dict": under("model.", averaged),
            "averaging_state": {"n_averaged": torch.tensor(3)},
        }
    if maker == "ema_pytorch":
        return {**under("online_model.", raw), **under("ema_model.", averaged)}
    return {**under("online.", raw), **under("swa.module.", averaged)}


MAKERS = ["timm", "torchvision", "Lightning", "ema_pytorch", "one dictionary"]


@pytest.mark.parametrize("maker", MAKERS)
def test_averaged_weights_are_taken_told_and_can_be_chosen(
    maker: str, raw: State, averaged: State, tmp_path: Path
) -> None:
    contents = averaged_by(maker, raw, averaged)
    for weights, state in ((None, averaged), ("ema", averaged), ("raw", raw)):
        found = opened(tmp_path, contents, weights=weights)
        assert has_weights_of(found, state)
        assert "holds 2 sets of weights that fit" in found.notes[0]
        assert ("which their makers evaluate" in found.notes[0]) == (weights != "raw")


def test_torch_averages_alone_are_averaged_weights(tmp_path: Path) -> None:
    network = zoo.build("resnet20", LABELS, 0)
    contents = AveragedModel(network).state_dict()
    found = opened(tmp_path, contents, weights="ema")
    assert has_weights_of(found, dict(network.state_dict()))
    assert "n_averaged" in found.notes[0]
    with pytest.raises(UsageError, match=r"`weights=raw` given; expected weights that are not"):
        opened(tmp_path, contents, weights="raw")


def test_weights_that_are_not_there_are_one_line(raw: State, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected averaged weights in .* leave it out"):
        opened(tmp_path, {"state_dict": raw}, weights="ema")
    with pytest.raises(UsageError, match="`weights=ema` given"):
        load_checkpoint("torchvision:squeezenet1_1:weights=none", weights="ema")


def test_a_teacher_beside_a_student_has_to_be_chosen(
    raw: State, averaged: State, tmp_path: Path
) -> None:
    contents = {"state_dict": {**under("student.", raw), **under("teacher.", averaged)}}
    with pytest.raises(UsageError, match=r"`weights=ema` \(the teacher\) or `weights=raw`"):
        opened(tmp_path, contents)
    assert has_weights_of(opened(tmp_path, contents, weights="raw"), raw)
    assert has_weights_of(opened(tmp_path, contents, weights="ema"), averaged)


def test_a_teacher_of_another_architecture_is_left_out(raw: State, tmp_path: Path) -> None:
    teacher = under("teacher.", state_of(2, "resnet32"))
    for arch in (None, "resnet20"):
        found = opened(tmp_path, {**under("student.", raw), **teacher}, arch=arch)
        assert has_weights_of(found, raw)
        assert "teacher.conv1.weight" in found.notes[0]
    unnamed = {**under("a.", raw), **{n.replace("teacher", "b"): v for n, v in teacher.items()}}
    with pytest.raises(InputError, match="fits no known architecture"):
        opened(tmp_path, unnamed)


def test_several_sets_of_one_kind_are_refused_unless_equal(
    raw: State, averaged: State, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"\(state_dict, best\); expected one"):
        opened(tmp_path, {"state_dict": raw, "best": averaged})
    assert has_weights_of(opened(tmp_path, {"state_dict": raw, "best": dict(raw)}), raw)


def test_averages_without_the_buffers_of_norms_are_told(raw: State, tmp_path: Path) -> None:
    part = {n: v for n, v in raw.items() if "running" not in n}
    found = opened(tmp_path, {"state_dict": raw, "state_dict_ema": part})
    assert "averaged weights that do not fit and were not used: state_dict_ema" in found.notes[0]


class Unknown:
    """Of a training that is not installed here; to make it would leave a trace."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def __reduce__(self) -> Any:
        return Unknown, ()


def test_objects_of_unknown_classes_beside_weights_are_never_made(
    raw: State, tmp_path: Path
) -> None:
    contents = {
        "state_dict": under("model.", raw),
        "hyper_parameters": argparse.Namespace(path=Path("x")),
        "callbacks": {"Unknown": Unknown()},
        "optimizer_states": [torch.optim.SGD(nn.Linear(2, 2).parameters()).state_dict()],
    }
    made = Unknown.made
    assert has_weights_of(opened(tmp_path, contents), raw)
    assert Unknown.made == made


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("as_script", [torch.jit.script, None])
def test_torchscript_is_read_as_its_tensors(as_script: Any, tmp_path: Path) -> None:
    network = zoo.build("vgg6", LABELS, 0)
    images = torch.rand(1, 3, 32, 32)
    scripted = as_script(network) if as_script else torch.jit.trace(network, images)
    scripted.save(str(tmp_path / "s.pt"))
    found = load_checkpoint(str(tmp_path / "s.pt"))
    assert has_weights_of(found, dict(network.state_dict()))
    assert found.model(images).equal(network(images))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_frozen_torchscript_is_one_line(tmp_path: Path) -> None:
    frozen = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(2, 2)).eval()))
    frozen.save(str(tmp_path / "s.pt"))
    with pytest.raises(InputError, match="TorchScript network without named weights"):
        load_checkpoint(str(tmp_path / "s.pt"))


def test_the_file_of_a_network_with_a_fixed_output_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fixednet.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 7))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 7)).state_dict()
    found = opened(tmp_path, {"state_dict": under("net.", dict(state))}, arch="fixednet:net")
    assert found.origin.num_labels == 7


def test_names_are_found_by_their_ending() -> None:
    names = FileNames({"a.b.w": (1,), "a.x.c.w": (1,)})
    assert names.has("b.w")
    assert names.has("a.c.w")
    assert not names.has("c.b.w")
    (naming,) = FileNames({"p.b.w": (1,), "p.c.w": (2,)}).namings(["b.w", "c.w"])
    assert (naming.prefix, naming.names["c.w"]) == ("p.", "p.c.w")
