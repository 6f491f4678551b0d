"""The search for the budget `latency_ms`, on a machine that is made up and on a real one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.evaluate.measure.latency import Comparison, LatencyRow
from prune_dl.prune.errors import GateError
from prune_dl.prune.job import latency_budget
from prune_dl.prune.job.latency_budget import Timed, Yardstick, drift_notes, search
from prune_dl.prune.options import BenchOptions
from torch import nn


class Machine:
    """Plans are numbers of filters out of 1000; brief timings are off by up to `noise`."""

    def __init__(self, fixed: float, noise: float, step: int = 1, seed: int = 0) -> None:
        self.fixed, self.noise, self.step = fixed, noise, step
        self.generator = np.random.default_rng(seed)
        self.asked: list[tuple[int, bool]] = []

    def latency(self, plan: int) -> float:
        return self.fixed + (20 - self.fixed) * plan / 1000

    def plan_for(self, share: float) -> int:
        plan = round(1000 * share / self.step) * self.step
        if plan == 0 or abs(plan - 1000 * share) > 20 * share:
            raise GateError("cannot be met within 2 %")
        return plan

    def measure(self, plan: int, thorough: bool) -> Timed:
        self.asked.append((plan, thorough))
        spread = 0.002 if thorough else self.noise
        value = self.latency(plan) * (1 + self.generator.uniform(-spread, spread))
        return Timed(value, value / (1 + spread), value / (1 - spread))


@settings(deadline=None)
@given(st.floats(0, 8), st.floats(0, 0.2), st.floats(0.45, 0.98), st.integers(0, 99))
def test_the_budget_is_hit_within_two_percent_on_a_noisy_machine(
    fixed: float, noise: float, share: float, seed: int
) -> None:
    machine, most = Machine(fixed, noise, seed=seed), 20 * share
    found = search(machine.plan_for, machine.measure, 20.0, most)
    assert 0.97 * most < machine.latency(found.plan) < 1.005 * most
    assert (found.plan, True) in machine.asked
    assert len(machine.asked) <= 2 * latency_budget.MAX_TIMED_PLANS


@pytest.mark.parametrize("most", [6.0, 11.0, 17.0])
def test_coarse_widths_give_the_widest_that_is_fast_enough(most: float) -> None:
    machine = Machine(fixed=1.0, noise=0.05, step=125)
    found = search(machine.plan_for, machine.measure, 20.0, most)
    assert found.plan == max(p for p in range(125, 1000, 125) if machine.latency(p) <= most)


def test_a_fast_network_stays_whole_and_an_impossible_budget_names_the_fastest() -> None:
    machine = Machine(fixed=5.0, noise=0.0)
    assert search(machine.plan_for, machine.measure, 20.0, 20.0).plan == 1000
    assert machine.asked == []
    with pytest.raises(GateError, match=r"`latency_ms=4` .* takes 20 ms, the fastest .* 5\.\d* ms"):
        search(machine.plan_for, machine.measure, 20.0, 4.0)


@pytest.mark.slow  # it times this machine
def test_a_real_network_is_timed_in_turns_with_the_original(tmp_path: Path) -> None:
    torch.manual_seed(0)
    deep = nn.Sequential(*(nn.Conv2d(16, 16, 3, padding=1) for _ in range(8)), nn.Flatten())
    bench = BenchOptions(threads=1, bench_seconds=0.2)
    yardstick = Yardstick.of(deep, (16, 24, 24), bench, tmp_path)
    same = yardstick.measure(deep, (16, 24, 24), thorough=False)
    assert same.latency_ms == pytest.approx(yardstick.reference_ms, rel=0.3)
    # The original took ten times as long at the start; half of it takes half of that now.
    slower = replace(yardstick, reference_ms=10 * yardstick.reference_ms)
    half = nn.Sequential(*deep[:4], nn.Flatten())
    faster = slower.measure(half, (16, 24, 24), thorough=False)
    assert 2.5 * same.latency_ms < faster.latency_ms < 7.5 * same.latency_ms
    assert faster.low_ms <= faster.latency_ms <= faster.high_ms


def comparison(original_ms: float, ratio: float) -> Comparison:
    row = LatencyRow(
        "a", "CPU", 1, 1, original_ms, 0, 0, 0, 0, 0, 0, 0, ratio, ratio, ratio, 0, 0, None
    )
    return Comparison((row, replace(row, p50_ms=original_ms / ratio)), ratio, 0, 0, False, {})


def test_a_change_of_the_machine_is_told() -> None:
    assert drift_notes(None, comparison(12.0, 2.0)) == []
    assert drift_notes(10.0, comparison(10.1, 2.0)) == []
    (note,) = drift_notes(10.0, comparison(12.0, 2.0))
    assert "took 10 ms" in note
    assert "12 ms in the final benchmark: 6 ms there are 5 ms as the budget counts" in note
