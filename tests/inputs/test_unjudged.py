"""Loaders read for their inputs alone, and inputs of a part recorded."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs.items import ItemReader
from prune_dl.prune.inputs.recorded import data_of_part, recorder_of, require_part
from prune_dl.prune.inputs.unjudged import inputs_in, read_inputs
from prune_dl.prune.job.by_outputs import HANDED_ON, case_by_outputs
from prune_dl.prune.progress import RunLog
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ONE, TWO = ItemReader(("x",), ("x",)), ItemReader(("left", "right"), ("left", "right"))
X = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("batch", "reader", "expected"),
    [
        (X, ONE, X),
        ((X,), ONE, X),
        ([X, "mask"], ONE, X),
        ((X, X, "target"), TWO, (X, X)),
        (([X, X], "targets"), ONE, ([X, X],)),
        ({"image": X, "mask": 0}, ONE, X),
        ({"x": X, "mask": 0}, ONE, X),
        ({"right": X, "left": X, "mask": 0}, TWO, {"left": X, "right": X}),
    ],
)
def test_inputs_come_first_or_by_name(batch: Any, reader: ItemReader, expected: Any) -> None:
    assert str(inputs_in(batch, reader)) == str(expected)


def test_what_holds_no_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="expected the inputs of the network first"):
        inputs_in((X,), TWO)
    with pytest.raises(InputError, match="a dictionary"):
        inputs_in({"mask": X, "size": 1}, ONE)
    words = DataLoader(["a", "b"], batch_size=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="whose inputs are a str given; expected tensors"):
        read_inputs(words, words, 0, ONE)


def test_a_tenth_is_held_out_and_no_batch_is_larger_than_the_users() -> None:
    loader = DataLoader(TensorDataset(torch.arange(40.0)[:, None]), batch_size=4)
    data = read_inputs(loader, None, 0, ONE)
    parts = [
        torch.cat([x for x, _ in split.batches(100, device="cpu")])
        for split in (data.train, data.held_out)
    ]
    assert [len(x) for x in parts] == [36, 4]
    assert sorted(torch.cat(parts)[:, 0].tolist()) == list(range(40))
    assert all(len(x) <= 4 for x, _ in data.train.batches(100, device="cpu"))
    with pytest.raises(InputError, match="train given with 1 items; expected two or more"):
        read_inputs(DataLoader(TensorDataset(X[:1])), None, 0, ONE)


def test_a_test_loader_and_another_share_are_taken() -> None:
    loader = DataLoader(TensorDataset(torch.arange(40.0)[:, None]), batch_size=4)
    other = DataLoader(TensorDataset(torch.full((6, 1), 100.0)), batch_size=4)
    data = read_inputs(loader, None, 0, ONE, test=other, share=0.25)
    assert [x.num_images for x in (data.train, data.held_out, data.test)] == [30, 10, 6]
    assert all(bool((x == 100).all()) for x, _ in data.test.batches(4, device="cpu"))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return factor * self.layer(x)


class Whole(nn.Module):
    """Calls its part by position, by name, or by both."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.part, self.relu = how, Scaled(), nn.ReLU()
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "skip":
            return self.head(x)
        calls = {"names": ((), {"x": x, "factor": 2.0}), "both": ((x,), {"factor": 2.0})}
        given, named = calls.get(self.how, ((x,), {}))
        return self.head(self.relu(self.part(*given, **named)))


def test_inputs_of_a_part_are_recorded_as_it_is_called() -> None:
    assert torch.equal(recorder_of(Whole("position"), "part", X)(X)[0], X)
    for how in ("names", "both"):
        (inputs,) = recorder_of(Whole(how), "part", X)(X)
        assert list(inputs) == ["x", "factor"]
        assert inputs["factor"] == 2.0


def test_parts_that_cannot_be_pruned_are_named() -> None:
    with pytest.raises(InputError, match="which the network does not run"):
        recorder_of(Whole("skip"), "part", X)
    with pytest.raises(UsageError, match=r"a ReLU without parameters; .* such as part, head"):
        recorder_of(Whole("names"), "relu", X)
    with pytest.raises(InputError, match="on which Whole does not run"):
        recorder_of(Whole("names"), "part", torch.ones(2, 5))


def test_a_part_that_shares_weights_with_the_rest_is_refused() -> None:
    whole = nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)})
    require_part(whole, "encoder")
    whole["decoder"].weight = whole["encoder"].weight
    with pytest.raises(InputError, match=r"whose weight is also decoder\.weight outside it"):
        require_part(whole, "encoder")
    whole["decoder"] = nn.Sequential(whole["encoder"])
    with pytest.raises(InputError, match=r"whose weight is also decoder\.0\.weight outside it"):
        require_part(whole, "encoder")


def test_data_of_a_part_are_what_it_is_given() -> None:
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    images = TensorDataset(torch.rand(12, 3, 5, 5))
    loader = DataLoader(images, batch_size=4)
    data = read_inputs(loader, None, 0, ItemReader.of(whole))
    inner = data_of_part(data, recorder_of(whole, "2", next(iter(loader))[0]))
    assert [x.num_images for x in (inner.train, inner.held_out, inner.test)] == [11, 1, 1]
    pairs = zip(
        data.train.batches(4, device="cpu", shuffle_seed=1),
        inner.train.batches(4, device="cpu", shuffle_seed=1),
        strict=True,
    )
    for (given, _), (recorded, labels_N) in pairs:
        assert torch.equal(recorded, whole[:2](given))
        assert len(labels_N) == len(given)
    stated = replace(inner, input_size=(3, 5, 5))
    case = case_by_outputs(whole[2], stated, torch.device("cpu"), 0, RunLog())
    assert case.data.input_size == (4, 5, 5)
    assert case.data.sources.size == HANDED_ON


def test_a_part_that_is_mistyped_is_told_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"expected a part .* did you mean 2\?"):
        require_part(nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(3)]), "2.")
