"""Numbers out of range, infinite or NaN, in every option of every command and of the library."""

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

import pytest
import torch
from prune_dl.prune import compress
from prune_dl.prune.checks import RANGES, check_ranges
from prune_dl.prune.command import cli
from prune_dl.prune.command.trees import COMMANDS, Job
from prune_dl.prune.errors import UsageError
from prune_dl.prune.options import BenchOptions, NetworkOptions, RetrainOptions, SelectOptions
from prune_dl.prune.training.recipe import Training
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

TREES: list[type[Any]] = [Job, *COMMANDS.values(), SelectOptions, RetrainOptions, BenchOptions]
NO_NUMBERS = ("inf", "-inf", "nan")


def number_fields(tree: type[Any]) -> list[str]:
    """Options of a tree, not of the groups within it, that take fractions."""
    hints = get_type_hints(tree)
    return [x.name for x in fields(tree) if "float" in str(hints[x.name])]


def blank(tree: type[Any]) -> Any:
    """A tree with its defaults."""
    needs = {x.name: x for x in fields(tree)}
    given: dict[str, Any] = {"network": NetworkOptions("x")} if "network" in needs else {}
    given |= {name: () for name in ("files", "arch", "shell") if name in needs}
    return tree(**given)


@pytest.mark.parametrize("tree", [*TREES, Training], ids=lambda tree: tree.__name__)
def test_no_option_takes_an_infinite_number(tree: type[Any]) -> None:
    for name in number_fields(tree):
        tuples = isinstance(getattr(blank(tree), name, None), tuple)
        for value in map(float, NO_NUMBERS):
            with pytest.raises(UsageError, match=rf"`{name}={value}` given; expected"):
                check_ranges(replace(blank(tree), **{name: (value,) if tuples else value}))


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("flag", ["--temperature", "--lr", "--latency-ms", "--bench-seconds"])
def test_an_infinite_number_is_one_line(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--model", "x.pt", "--keep", "0.5", f"{flag}={value}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{flag} {float(value)} given; expected" in line
    assert (
        line.endswith(", and finite; see prune-dl --help")
        or "above 0, and finite" in line
        or ("a day at most, and finite" in line)
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("threads", 10_000), ("steps", 101), ("epochs", 10**9), ("patience", 10**9)),
        *(("batch_size", 10**9), ("latency_batch", 10**9), ("images", 10**12)),
        *(("bench_seconds", 1e9), ("multiple", 10**9), ("temperature", math.inf)),
    ],
)
def test_counts_beyond_reason_are_refused_by_the_library(option: str, value: float) -> None:
    data = TensorDataset(torch.zeros(20, 3, 8, 8), torch.arange(20) % 2)
    with pytest.raises(UsageError, match=rf"`{option}={value}` given; expected"):
        compress(nn.Flatten(), DataLoader(data), 2, **{"keep": 0.5, option: value})  # type: ignore[arg-type]


def test_whole_numbers_of_any_length_are_compared() -> None:
    with pytest.raises(UsageError, match=r"`epochs=10+` given; expected 0 to 100000"):
        check_ranges(replace(RetrainOptions(), epochs=10**400))


def test_every_default_is_in_its_range() -> None:
    for tree in TREES:
        check_ranges(blank(tree))
        assert is_dataclass(tree)
    assert RANGES["threads"][1](64)
