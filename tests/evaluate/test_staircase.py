"""Efficient widths as pure laws, and one real measurement that is taken once."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prune_dl.evaluate.measure import staircase as module
from prune_dl.evaluate.measure.staircase import (
    MARGIN,
    LayerShape,
    Staircase,
    cache_folder,
    measure_staircase,
)
from prune_dl.prune.errors import UsageError
from prune_dl.prune.options import BenchOptions

SHAPE = LayerShape(in_channels=4, height=6, width=6)
BRIEF = BenchOptions(threads=1, bench_seconds=0.0)


@st.composite
def staircases(draw: st.DrawFn) -> Staircase:
    widths = sorted(draw(st.sets(st.integers(1, 64), min_size=1, max_size=12)))
    times = st.floats(0.01, 10)
    return Staircase(tuple(widths), tuple(draw(times) for _ in widths))


@given(staircases())
def test_efficient_widths_each_save_time_and_no_other_width_does(stairs: Staircase) -> None:
    latency = dict(zip(stairs.widths, stairs.latency_ms, strict=True))
    efficient = stairs.efficient
    assert efficient[-1] == stairs.widths[-1]
    for width in stairs.widths:
        above = [latency[w] * (1 - MARGIN) for w in efficient if w > width]
        assert (width in efficient) == all(latency[width] < most for most in above)


def test_a_block_of_sixteen_filters_is_found_in_spite_of_noise() -> None:
    """Medians of a 3x3 convolution of 64 channels at 32x32 on a processor with such blocks."""
    widths = (8, 16, 24, 32, 40, 48, 56, 64)
    latency_ms = (0.144, 0.145, 0.217, 0.218, 0.295, 0.295, 0.382, 0.374)
    assert Staircase(widths, latency_ms).efficient == (16, 32, 48, 64)


def test_a_layer_is_measured_once_per_machine_and_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure_staircase(SHAPE, [8, 2, 8], BRIEF, cache=tmp_path)
    assert first.widths == (2, 8)
    assert all(latency > 0 for latency in first.latency_ms)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["threads"] == 1

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(module, "time_interleaved", refuse)
        assert measure_staircase(SHAPE, [2, 8], BRIEF, cache=tmp_path) == first
        with pytest.raises(AssertionError, match="measured again"):
            measure_staircase(SHAPE, [2, 8], replace(BRIEF, latency_batch=2), cache=tmp_path)
    file.write_text("damaged")
    again = measure_staircase(SHAPE, [2, 8], BRIEF, cache=tmp_path)
    assert json.loads(file.read_text())["latency_ms"] == list(again.latency_ms)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_measurements_are_kept_where_the_system_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "prune-dl" / "staircase"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "prune-dl" / "staircase"


def test_a_provider_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="coreml"):
        measure_staircase(SHAPE, [2], BenchOptions(provider="coreml"), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
