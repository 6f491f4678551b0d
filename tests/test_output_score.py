"""The fidelity of outputs: a coefficient of determination, for any kind of output."""

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.output_score import (
    OutputFidelity,
    OutputTally,
    SpreadSums,
    float_outputs,
    require_float_outputs,
)
from sklearn.metrics import r2_score
from torch import Tensor


def scored(expected: dict[str, Tensor], found: dict[str, Tensor], split: int = 4) -> OutputFidelity:
    """By two batches."""
    parts = [
        {n: x[part] for n, x in expected.items()} for part in (slice(split), slice(split, None))
    ]
    ours = [{n: x[part] for n, x in found.items()} for part in (slice(split), slice(split, None))]
    sums = SpreadSums()
    for part in parts:
        sums.add(part)
    tally = OutputTally(sums.scale())
    for a, b in zip(ours, parts, strict=True):
        tally.add(a, b, len(next(iter(b.values()))))
    return tally.score()


def test_it_is_the_coefficient_of_determination() -> None:
    torch.manual_seed(0)
    t, y = torch.randn(10, 3) + 5, torch.randn(10, 3) + 5
    score = scored({"z": t}, {"z": y})
    assert score.value == pytest.approx(r2_score(t, y, multioutput="variance_weighted"), rel=1e-5)
    assert score.total == 10
    assert score.low <= score.value <= score.high


def test_maps_have_a_mean_for_each_channel_and_tokens_for_their_last_axis() -> None:
    torch.manual_seed(0)
    levels = 10 * torch.arange(3.0)
    maps = torch.randn(8, 3, 4, 4) + levels[:, None, None]
    tokens = torch.randn(8, 6, 3) + levels
    means = {
        "maps": levels[:, None, None].expand(maps.shape),
        "tokens": levels.expand(tokens.shape),
    }
    score = scored({"maps": maps, "tokens": tokens}, means)
    assert score.by_output["maps"] == pytest.approx(0, abs=0.05)
    assert score.by_output["tokens"] == pytest.approx(0, abs=0.05)


def test_outputs_count_alike_whatever_their_scale() -> None:
    torch.manual_seed(0)
    t = {"small": 1e-3 * torch.randn(8, 5), "large": 1e3 * torch.randn(8, 5)}
    y = {"small": torch.zeros(8, 5), "large": t["large"]}
    score = scored(t, y)
    assert score.by_output["large"] == 1
    assert score.value == pytest.approx((1 + score.by_output["small"]) / 2)
    assert score.plain["output_fidelity:small"] == score.by_output["small"]


def test_a_constant_output_is_measured_by_its_own_squares() -> None:
    t = {"anchors": torch.full((8, 4), 3.0)}
    assert scored(t, t).value == 1
    assert scored(t, {"anchors": torch.full((8, 4), 1.5)}).value == pytest.approx(0.75)
    nothing = {"zeros": torch.zeros(8, 4)}
    assert scored(nothing, nothing).value == 1
    assert scored(nothing, {"zeros": torch.ones(8, 4)}).value == 0


def test_the_interval_holds_the_value_and_shrinks_with_images() -> None:
    randomness = np.random.default_rng(0)
    errors, energies = randomness.random((400, 1)), 5 + randomness.random((400, 1))
    many = OutputFidelity(("z",), errors, energies)
    few = OutputFidelity(("z",), errors[:25], energies[:25])
    assert many.high - many.low < (few.high - few.low) / 2
    assert many.error == pytest.approx((many.high - many.low) / 4, rel=0.2)


def test_other_sizes_and_broken_numbers_are_named() -> None:
    t = {"maps": torch.randn(8, 2)}
    with pytest.raises(InputError, match=r"gives \(4, 3\) as its output maps; expected \(4, 2\)"):
        scored(t, {"maps": torch.randn(8, 3)})
    with pytest.raises(InputError, match="NaN or infinity"):
        scored(t, {"maps": torch.full((8, 2), torch.nan)})
    with pytest.raises(InputError, match="output 1 holds NaN"):
        require_float_outputs((torch.ones(2), torch.tensor([torch.inf])))
    with pytest.raises(InputError, match=r"no floating-point numbers .* as `part` \(backbone\)"):
        require_float_outputs([torch.ones(2).long()], "backbone")


def test_outputs_are_named_as_they_stand() -> None:
    outputs = {"out": torch.ones(1, 2), "levels": [torch.ones(1), torch.ones(1).long()], "n": None}
    assert list(float_outputs(outputs)) == ["out", "levels.0"]
    assert list(float_outputs(torch.ones(1))) == ["output"]
