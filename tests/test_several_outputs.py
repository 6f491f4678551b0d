"""Networks of several outputs or inputs, and loaders of any items, through the whole job."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from prune_dl.prune import compress, rank
from prune_dl.prune.chosen_output import OutputHook
from prune_dl.prune.errors import InputError, UsageError
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

NUM_LABELS = 3
X = torch.randn(90, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(90) % NUM_LABELS
TOLD = X + Y[:, None, None, None] - 1
"""Images whose brightness is their label."""


@dataclass
class Answer:
    logits: Tensor
    features: Tensor


Pair = namedtuple("Pair", ["features", "scores"])


class Network(nn.Module):
    """Gives its logits in any of the forms that networks have."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
        self.head = nn.Linear(8, NUM_LABELS)
        self.aux = nn.Linear(8, NUM_LABELS)

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        logits, aux = self.head(features), self.aux(features)
        return {
            "tensor": logits,
            "dictionary": {"features": features, "logits": logits},
            "other key": {"features": features, "prediction": logits},
            "tuple": (logits, features),
            "second": (features, logits),
            "two": (aux, logits),
            "object": Answer(logits, features),
            "named tuple": Pair(features, logits),
            "nested": {"aux": {"logits": aux}, "head": {"logits": logits}},
        }[self.form]


def network(form: str = "tensor") -> Network:
    torch.manual_seed(0)
    return Network(form)


def loader(dataset: Any = None, **options: Any) -> DataLoader[Any]:
    return DataLoader(dataset or TensorDataset(TOLD, Y), 30, **options)


JOB: dict[str, Any] = {"keep": 0.6, "device": "cpu"}


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("dictionary", None),
        ("tuple", None),
        ("object", None),
        ("other key", None),
        ("second", None),
        ("named tuple", None),
        ("other key", "prediction"),
        ("second", "1"),
        ("two", "1"),
        ("named tuple", "scores"),
        ("nested", "head.logits"),
    ],
)
def test_a_network_of_any_outputs_is_pruned_as_one_of_bare_logits(
    form: str, output: str | None
) -> None:
    bare = compress(network(), loader(), NUM_LABELS, epochs=1, **JOB)
    original = network(form)
    found = compress(original, loader(), NUM_LABELS, output=output, epochs=1, **JOB)
    kept, protected = (
        {layer.name: layer.kept for layer in x.planned.plan.layers} for x in (bare, found)
    )
    for name in protected:  # features are an output, so their width stays
        assert protected[name] == kept[name] or len(protected) < len(kept)
    assert type(found.model) is Network
    assert found.model.state_dict().keys() == original.state_dict().keys()
    for model in (original, found.model, found.outcome.removed, found.planned.model):
        assert not any(isinstance(hook, OutputHook) for hook in model._forward_hooks.values())
    assert type(found.model(X[:2])) is type(original(X[:2]))


def test_the_chosen_output_is_the_one_that_is_learned_and_ranked_by() -> None:
    job = {**JOB, "rank": "taylor", "epochs": 0}
    chosen = compress(network("two"), loader(), NUM_LABELS, output="1", **job)
    first = compress(network("two"), loader(), NUM_LABELS, output="0", **job)
    assert first.planned.plan.digest != chosen.planned.plan.digest


def test_several_outputs_of_the_logits_size_are_said_or_refused() -> None:
    found = compress(network("two"), loader(), NUM_LABELS, epochs=0, **JOB)
    expected = "the network gives several outputs of 3 columns: 0 was taken for the logits; "
    assert expected + "`output` chooses another (1)" in found.warnings
    with pytest.raises(InputError, match=r"\(aux\.logits, head\.logits\); expected to know which"):
        compress(network("nested"), loader(), NUM_LABELS, epochs=0, **JOB)
    found = compress(network("second"), loader(), NUM_LABELS, epochs=0, **JOB)
    assert "the logits are the network's output 1, as its sizes tell" in found.warnings


@pytest.mark.parametrize(
    ("form", "output", "message"),
    [
        ("nested", "head", r"`output=head` given; .* aux\.logits \(8 x 3\), head\.logits"),
        ("second", "0", r"`output=0` given, a tensor of 8 x 8; .* 3 columns"),
        ("tensor", "logits", "returns one tensor; leave it out"),
    ],
)
def test_an_output_that_holds_no_logits_is_refused(form: str, output: str, message: str) -> None:
    model = network(form)
    with pytest.raises(UsageError, match=message):
        compress(model, loader(), NUM_LABELS, output=output, epochs=0, **JOB)
    assert not model._forward_hooks


@pytest.mark.filterwarnings("ignore:the network gets .* no more than chance:UserWarning")
@pytest.mark.filterwarnings("ignore:another order of the labels:UserWarning")
def test_rank_takes_the_chosen_output_and_dictionaries() -> None:
    batches = [{"x": TOLD[:60], "label": Y[:60]}]
    held_out = [(TOLD[60:], Y[60:])]
    found = rank(network("two"), batches, held_out, NUM_LABELS, device="cpu", output="1")
    bare = rank(network(), [(TOLD[:60], Y[:60])], held_out, NUM_LABELS, device="cpu")
    rates = [[g.success_rate for g in x.groups if g] for x in (found, bare)]
    assert rates[0] == rates[1] != []


class Two(nn.Module):
    """A network of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Conv2d(3, 8, 3, padding=1) for _ in range(2))
        self.mixed = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, NUM_LABELS)

    def forward(self, image: Tensor, depth: Tensor, scale: float = 1.0) -> Tensor:
        x = (self.left(image) + scale * self.right(depth)).relu()
        return self.head(self.mixed(x).relu().mean((2, 3)))


class Items(Dataset[Any]):
    """Items in a stated form."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return self.make(TOLD[index], int(Y[index]))


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: ((x, x), y),
        lambda x, y: (x, x, y),
        lambda x, y: ({"image": x, "depth": x}, y),
        lambda x, y: {"image": x, "depth": x, "label": y, "id": 7},
    ],
)
def test_several_inputs_go_through_every_stage(make: Any) -> None:
    torch.manual_seed(0)
    train = loader(Items(make))
    found = compress(Two(), train, NUM_LABELS, epochs=1, mixup=0.2, cut_depth=True, **JOB)
    assert found.outcome.certificate.ok
    assert found.model(X[:2], X[:2]).shape == (2, NUM_LABELS)
    assert found.outcome.facts["applied"] != "nothing" or found.warnings


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: {"image": x, "label": y},
        lambda x, y: {"x": x, "labels": torch.tensor(y), "path": "a.png"},
        lambda x, y: {"anything": x, "targets": np.int64(y)},
        lambda x, y: {"x": x, "digit": y},
        lambda x, y: (x, torch.tensor([y])),
        lambda x, y: (x, np.array(y)),
        lambda x, y: [x, y, "a.png"],
    ],
)
def test_items_of_any_form_are_read_alike(make: Any) -> None:
    plain, found = (
        compress(network(), loader(data), NUM_LABELS, epochs=0, **JOB)
        for data in (TensorDataset(TOLD, Y), Items(make))
    )
    assert found.planned.plan.digest == plain.planned.plan.digest
    assert found.outcome.held_out == plain.outcome.held_out


def test_a_collate_function_alone_may_know_what_items_are() -> None:
    def collate(items: list[Any]) -> Any:
        return {"pictures": TOLD[items]}, [int(Y[i]) for i in items]

    def as_tuple(items: list[Any]) -> Any:
        return (TOLD[items],), [int(Y[i]) for i in items]

    indices: Any = list(range(90))
    plain = compress(network(), loader(), NUM_LABELS, epochs=0, **JOB)
    found = compress(network(), loader(indices, collate_fn=as_tuple), NUM_LABELS, epochs=0, **JOB)
    assert found.planned.plan.digest == plain.planned.plan.digest
    with pytest.raises(InputError, match="pictures"):
        compress(network(), loader(indices, collate_fn=collate), NUM_LABELS, epochs=0, **JOB)


def test_a_sampler_of_a_part_confines_the_images_and_others_are_told_of() -> None:
    part = SubsetRandomSampler(range(60))
    found = compress(network(), loader(sampler=part), NUM_LABELS, epochs=0, **JOB)
    assert found.outcome.held_out["original"].total == 6
    weighted = WeightedRandomSampler([1.0] * 90, 90)
    found = compress(network(), loader(sampler=weighted), NUM_LABELS, epochs=0, **JOB)
    assert any("the WeightedRandomSampler of train decides" in x for x in found.warnings)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(X[0], 0)])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "a loader of Stream given as train, a data set without length"),
        (Items(lambda x, y: (x, "cat")), "a label that is 'cat' given"),
        (Items(lambda x, y: (x, y + 0.5)), "a label of 0.5 given"),
        (Items(lambda x, y: (x, None)), "cannot be put into a batch|a label that is None given"),
        (Items(lambda x, y: (x, y - 1)), "a label of -1 given"),
        (Items(lambda x, y: (x, y + 1)), "a label of 3 given, for 3 labels"),
        (Items(lambda x, y: (x, torch.rand(4, 4))), "labels of 1 x 4 x 4 given"),
        (Items(lambda x, y: {"a": x, "b": x, "label": y}), r"a dictionary \(a, b, label\)"),
        (Items(lambda x, y: ("a.png", y)), "inputs are a tuple of str|inputs are a list of str"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compress(network(), loader(dataset), NUM_LABELS, epochs=0, **JOB)


def test_what_needs_one_image_is_refused_before_the_work() -> None:
    train = loader(Items(lambda x, y: ((x, x), y)))
    with pytest.raises(UsageError, match="`latency_ms` given for a network of several inputs"):
        compress(Two(), train, NUM_LABELS, latency_ms=1.0, device="cpu")
