"""The whole job on networks and data sets that do odd things: it works, or says why in one line."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from prune_dl.export.graph import export_onnx
from prune_dl.export.parity import check_parity
from prune_dl.prune import compress, rank
from prune_dl.prune.errors import InputError, PruneError
from prune_dl.prune.inputs import checkpoint
from prune_dl.prune.outputs import RANDOM_FORWARD
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

IMAGES = torch.randn(80, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(80) % 4
LOADER = DataLoader(TensorDataset(IMAGES, LABELS), 20)
NEVER: dict[str, Any] = {"keep": 0.5, "epochs": 0, "device": "cpu"}
ONCE: dict[str, Any] = {**NEVER, "epochs": 1}


class Network(nn.Module):
    """A small classifier; `after` wraps its logits, `before` changes its features."""

    def __init__(self, after: Any = None, before: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.ReLU()),
        )
        self.head = nn.Linear(12, 4)
        self.after, self.before = after, before

    def forward(self, images: Tensor) -> Any:
        features = self.layers(images)
        features = features if self.before is None else self.before(features)
        logits = self.head(features.mean((2, 3)))
        return logits if self.after is None else self.after(logits)


def in_a_dictionary(logits: Tensor) -> Any:
    return {"loss": None, "logits": logits}


def after_others(logits: Tensor) -> Any:
    return {"aux": logits + 1, "logits": logits}


def in_a_tuple(logits: Tensor) -> Any:
    return logits, logits + 1


def in_an_object(logits: Tensor) -> Any:
    return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("after", [in_a_dictionary, in_a_tuple, in_an_object])
def test_wrapped_logits_give_the_same_network_as_bare_ones(after: Any) -> None:
    bare = compress(Network(), LOADER, 4, **ONCE)
    wrapped = compress(Network(after), LOADER, 4, **ONCE)
    assert wrapped.outcome.held_out == bare.outcome.held_out
    for name, value in bare.model.state_dict().items():
        assert torch.equal(value, wrapped.model.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore:the network gets")
@pytest.mark.parametrize("options", [{"rank": "taylor"}, {"cut_depth": True}])
def test_wrapped_logits_are_found_where_gradients_and_depth_need_them(options: Any) -> None:
    result = compress(Network(in_a_dictionary), LOADER, 4, **NEVER, **options)
    assert result.outcome.certificate.ok
    assert rank(Network(in_a_tuple), LOADER, LOADER, 4, device="cpu").groups[0] is not None


@pytest.mark.parametrize("after", [after_others, in_a_tuple])
def test_wrapped_logits_are_the_one_output_of_an_exported_file(after: Any, tmp_path: Path) -> None:
    model = Network(after).eval()
    path = export_onnx(model, (3, 12, 12), tmp_path / "model.onnx", metadata={})
    assert [entry.name for entry in onnx.load(path).graph.output] == ["logits"]
    assert check_parity(path, model, IMAGES[:8]).ok


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_worked_on_in_float32_and_said(precision: torch.dtype) -> None:
    model = Network().to(precision)
    own = copy.deepcopy(model.state_dict())
    loader = DataLoader(TensorDataset(IMAGES.to(precision), LABELS), 20)
    for data in (LOADER, loader):
        result = compress(model, data, 4, **ONCE)
        name = str(precision).removeprefix("torch.")
        assert result.warnings[0].startswith(f"the network came in {name}; it was worked on")
        assert {x.dtype for x in result.model.parameters()} == {torch.float32}
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())


def test_half_weights_in_a_file_are_noted(tmp_path: Path) -> None:
    from prune_dl.prune.inputs import zoo

    model = zoo.build("vgg6:width=0.1", 10)
    torch.save(model.state_dict(), tmp_path / "single.pt")
    torch.save(model.half().state_dict(), tmp_path / "half.pt")
    options = {"arch": "vgg6:width=0.1"}
    assert checkpoint.load_checkpoint(str(tmp_path / "single.pt"), **options).notes == ()
    (note,) = checkpoint.load_checkpoint(str(tmp_path / "half.pt"), **options).notes
    assert note == "the network came in float16; it was worked on, and is delivered, in float32"


def test_a_random_forward_is_named_before_any_work() -> None:
    model = Network(before=lambda x: F.dropout(x, 0.5))
    with pytest.raises(InputError) as refused:
        compress(model, LOADER, 4, **NEVER)
    assert str(refused.value) == RANDOM_FORWARD


def test_a_random_forward_that_shows_late_is_no_bug_to_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prune_dl.prune.api.require_classifier", lambda *arguments: None)
    with pytest.raises(InputError) as refused:
        compress(Network(before=lambda x: F.dropout(x, 0.5)), LOADER, 4, **NEVER)
    assert str(refused.value) == RANDOM_FORWARD


class TwoNames(nn.Module):
    """All layers under two names, one under three."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Network()
        self.again = self.first
        self.layer = self.first.layers[3]

    def forward(self, images: Tensor) -> Any:
        return self.again(images)


def test_a_layer_under_two_names_is_pruned_once_and_the_original_stays() -> None:
    model = TwoNames()
    own = copy.deepcopy(model.state_dict())
    result = compress(model, LOADER, 4, **ONCE)
    assert result.outcome.certificate.ok
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())
    assert all(isinstance(x, nn.Parameter) for x in model.parameters())
    alone = compress(Network(), LOADER, 4, **ONCE)
    assert [x.kept for x in result.planned.plan.layers] == [
        x.kept for x in alone.planned.plan.layers
    ]
    assert result.model.layer is result.model.first.layers[3] is result.model.again.layers[3]
    assert result.model.layer.out_channels == len(result.planned.plan.layers[1].kept)


def test_rows_of_numbers_are_retrained_too() -> None:
    rows = DataLoader(TensorDataset(IMAGES[:, :, 0].flatten(1), LABELS), 20)
    model = nn.Sequential(nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4))
    assert compress(model, rows, 4, **ONCE).outcome.certificate.ok


def test_images_for_a_network_of_rows_are_one_line() -> None:
    model = nn.Sequential(nn.Linear(3 * 12 * 12, 16), nn.ReLU(), nn.Linear(16, 4))
    with pytest.raises(InputError, match=r"put nn.Flatten\(\) before its first layer"):
        compress(model, LOADER, 4, **NEVER)
    flat = nn.Sequential(nn.Flatten(), *model)
    assert compress(flat, LOADER, 4, **NEVER).outcome.certificate.ok


class Items(Dataset[Any]):
    """Items as a function of their position."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, place: int) -> Any:
        return self.item(place)


@pytest.mark.parametrize(
    "item",
    [
        lambda i: {"image": IMAGES[i], "label": int(LABELS[i])},
        lambda i: {"pixel_values": IMAGES[i], "labels": LABELS[i]},
        lambda i: (IMAGES[i], int(LABELS[i]), "an index"),
        lambda i: (IMAGES[i].double(), int(LABELS[i])),
        lambda i: (IMAGES[i], float(LABELS[i])),
        lambda i: (IMAGES[i], LABELS[i][None]),
        lambda i: (IMAGES[i], torch.eye(4)[LABELS[i]]),
        lambda i: (IMAGES[i], [int(LABELS[i] == label) for label in range(4)]),
    ],
)
def test_items_of_usual_kinds_are_read(item: Any) -> None:
    expected = compress(Network(), LOADER, 4, **NEVER)
    found = compress(Network(), DataLoader(Items(item), 20), 4, **NEVER)
    assert found.outcome.held_out == expected.outcome.held_out


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            lambda i: (IMAGES[i], 0.7 * torch.eye(4)[LABELS[i]] + 0.075),
            "targets such as [0.775, 0.075, 0.075, 0.075] given, which are no whole numbers",
        ),
        (lambda i: (IMAGES[i], torch.eye(5)[LABELS[i]]), "targets of 5 numbers for each image"),
        (lambda i: (IMAGES[i], 2 * torch.eye(4)[LABELS[i]]), "a target of [2, 0, 0, 0] given;"),
        (lambda i: (IMAGES[i], torch.zeros(2, 2)), "labels of 1 x 2 x 2 given; expected one whole"),
        (lambda i: (IMAGES[i], -1), "a label of -1 given; expected 0 to K - 1"),
        (lambda i: (IMAGES[i], "cat"), "a label that is 'cat' given; expected one whole number"),
        (lambda i: (IMAGES[i], 0.5), "a label of 0.5 given; expected a whole number"),
        (lambda i: {"a": IMAGES[i]}, "a data set whose items are a dictionary (a) given"),
        (
            lambda i: ((IMAGES[i],) * 2, int(LABELS[i])),
            "inputs of 3 x 12 x 12 given, on which Network ",
        ),
    ],
)
def test_items_of_other_kinds_are_one_line(item: Any, said: str) -> None:
    with pytest.raises(PruneError) as refused:
        compress(Network(), DataLoader(Items(item), 20), 4, **NEVER)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_many_steps_end_at_the_budget() -> None:
    result = compress(Network(), LOADER, 4, **{**NEVER, "keep": 0.15}, steps=8)
    assert [len(layer.kept) for layer in result.planned.plan.layers] == [
        x.out_channels for x in result.model.layers if isinstance(x, nn.Conv2d)
    ]
