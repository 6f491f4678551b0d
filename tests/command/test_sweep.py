"""A sweep: its budgets, its folder, and, slowly, a whole one whose failures are rows."""

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report.tradeoff import TradeoffPoint
from prune_dl.export.session import open_session
from prune_dl.prune.command import cli
from prune_dl.prune.command.distribute import ray_map
from prune_dl.prune.command.sweep import points as sweep_job
from prune_dl.prune.command.sweep.budgets import (
    budgets_of,
    place_of,
    precisions,
    settings_of,
)
from prune_dl.prune.command.sweep.folder import is_done, open_folder, read_points, write_points
from prune_dl.prune.command.sweep.points import run_sweep
from prune_dl.prune.command.trees import Sweep
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.checkpoint import save_checkpoint
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.job import plan as planning
from prune_dl.prune.options import BenchOptions, DataOptions, NetworkOptions, RunOptions
from prune_dl.prune.structure.plan import Plan


def sweep(out, resume=False, **options):
    run = RunOptions(out=out, device="cpu", resume=resume)
    return Sweep(network=NetworkOptions(model="m.pt"), run=run, **options)


def test_every_budget_comes_once_in_the_order_given(tmp_path):
    budgets = budgets_of(sweep(tmp_path, keep=(0.9, 0.5, 0.9, 0.5000000001)))
    assert [budget.name for budget in budgets] == ["keep 0.9", "keep 0.5"]
    assert [b.name for b in budgets_of(sweep(tmp_path, macs=(0.25,)))] == ["macs 0.25"]
    (fast,) = budgets_of(sweep(tmp_path, latency_ms=(12.5,), hardware_widths="cpu"))
    assert fast.name == "latency-ms 12.5"
    assert (fast.kind, fast.value) == ("latency_ms", 12.5)
    settings = settings_of(sweep(tmp_path, hardware_widths="cpu"))
    assert settings.select.hardware_widths == "cpu"


def test_tasks_beside_each_other_measure_no_latency(tmp_path):
    with pytest.raises(UsageError, match="`distributed`"):
        budgets_of(sweep(tmp_path, latency_ms=(12.5,), distributed="ray"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep": (0.5,), "macs": (0.5,)},
        {"keep": (0.5, 1.2)},
        {"keep": (0.5,), "latency_ms": (3.0,)},
        {"keep": (0.5,), "hardware_widths": "cpu", "allocate": "uniform"},
    ],
)
def test_impossible_budgets_are_refused(options, tmp_path):
    with pytest.raises(UsageError, match=r"`keep|`hardware_widths"):
        budgets_of(sweep(tmp_path, **options))


def test_every_network_has_its_place_in_the_sweep(tmp_path):
    options = sweep(tmp_path, keep=(0.9, 0.5, 0.9))
    assert place_of(options, "original") == "network 1 of 3, original"
    assert place_of(options, "keep 0.5") == "network 3 of 3, keep 0.5"


def test_float32_always_the_others_as_asked(tmp_path):
    assert precisions(sweep(tmp_path)) == ("float32", "float16", "int8")
    assert precisions(sweep(tmp_path, fp16=False, int8=False)) == ("float32",)


def test_points_survive_their_file(tmp_path):
    points = [
        TradeoffPoint("keep 0.5", "int8", Accuracy(3, 4), None, None, 10, 20, 30, "x/a.onnx"),
        TradeoffPoint("keep 0.5", error="too few filters"),
    ]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.onnx").touch()
    write_points(tmp_path, "keep 0.5", points)
    assert read_points(tmp_path, "keep 0.5") == points
    assert is_done(tmp_path, "keep 0.5")
    (tmp_path / "x" / "a.onnx").unlink()
    assert not is_done(tmp_path, "keep 0.5")


def test_a_point_that_broke_off_is_shown_and_made_again(tmp_path):
    failed, made = (
        [TradeoffPoint("keep 0.5", error="OSError: disk")],
        [TradeoffPoint("keep 0.5", error="no")],
    )
    write_points(tmp_path, "keep 0.5", failed, done=False)
    assert read_points(tmp_path, "keep 0.5") == failed
    assert not is_done(tmp_path, "keep 0.5")
    write_points(tmp_path, "keep 0.5", made)
    assert is_done(tmp_path, "keep 0.5")
    assert read_points(tmp_path, "keep 0.5") == made


def test_only_the_same_sweep_is_resumed(tmp_path):
    out = tmp_path / "sweep"
    open_folder(out, sweep(out, rank="l2"))  # which stopped before its first point
    open_folder(out, sweep(out, keep=(0.5,)))
    write_points(out, "keep 0.5", [])
    open_folder(out, sweep(out, resume=True, keep=(0.5, 0.3)))
    with pytest.raises(UsageError, match="other options"):
        open_folder(out, sweep(out, resume=True, keep=(0.5,), rank="l1"))
    with pytest.raises(UsageError, match="`resume`"):
        open_folder(out, sweep(out, keep=(0.5,)))


def small_sweep(tmp_path, out, **changes):
    """Of an untrained network on digits."""
    arch = "vgg6:in_channels=1,width=0.25"
    weights = tmp_path / "small.pt"
    origin = Origin(arch, 10, None, (), (1, 16, 16), (0.5,), (0.5,))
    if not weights.exists():
        save_checkpoint(weights, build(arch, 10), origin)
    options = Sweep(
        network=NetworkOptions(model=str(weights)),
        data=DataOptions(data="digits"),
        bench=BenchOptions(bench_seconds=0.2),
        run=RunOptions(out=out, device="cpu"),
        images=400,
        fp16=False,
        int8=False,
    )
    return replace(options, **changes)


def labels_of(tradeoff):
    return [(p.name, p.format, bool(p.error)) for p in tradeoff.points]


@pytest.mark.slow
def test_a_whole_sweep_and_its_resumption(tmp_path):
    out = tmp_path / "sweep"
    options = small_sweep(tmp_path, out, keep=(0.5, 1e-6), fp16=True)
    first = run_sweep(options, "prune-dl sweep")
    assert labels_of(first) == [
        ("original", "float32", False),
        ("original", "float16", False),
        ("keep 0.5", "float32", False),
        ("keep 0.5", "float16", False),
        ("keep 1e-06", "float32", True),
    ]
    by_name = {(p.name, p.format): p for p in first.points}
    assert by_name["keep 0.5", "float32"].macs < 0.6 * by_name["original", "float32"].macs
    half, full = by_name["keep 0.5", "float16"], by_name["keep 0.5", "float32"]
    assert half.size_bytes < 0.6 * full.size_bytes
    assert all((out / p.file).exists() for p in first.points if not p.error)
    assert len(json.loads((out / "tradeoff.json").read_text())["points"]) == 5

    meta = open_session(out / full.file).get_modelmeta().custom_metadata_map
    assert meta["plan"] == Plan.from_json((out / "keep-0.5" / "plan.json").read_text()).digest
    assert len(meta["source"]) == 64
    assert json.loads(meta["accuracy"])["held_out"]["correct"] == full.accuracy.correct

    made = (out / full.file).stat().st_mtime_ns
    resumed = replace(options, keep=(0.5,), run=replace(options.run, resume=True))
    second = run_sweep(resumed, "prune-dl sweep")
    assert [p.name for p in second.points] == ["original"] * 2 + ["keep 0.5"] * 2
    assert (out / full.file).stat().st_mtime_ns == made
    assert [p.accuracy for p in second.points] == [p.accuracy for p in first.points[:4]]

    half_file = out / half.file
    half_file.write_bytes(b"damaged")
    third = run_sweep(resumed, "prune-dl sweep")
    assert [bool(p.error) for p in third.points] == [False, False, False, True]
    assert "cannot open" in third.points[3].error
    half_file.unlink()
    assert labels_of(run_sweep(resumed, "prune-dl sweep")) == labels_of(second)


@pytest.mark.slow
def test_a_bug_in_one_point_is_a_row_and_resume_makes_it_again(tmp_path, monkeypatch):
    out = tmp_path / "sweep"
    options = small_sweep(tmp_path, out, keep=(0.5, 0.25))
    carry_out = sweep_job.carry_out

    def break_at_half(planned, *more):
        if planned.left.keep > 0.4 * planned.original.keep:
            raise RuntimeError("out of memory\nat line 2")
        return carry_out(planned, *more)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_job, "carry_out", break_at_half)
        first = run_sweep(options, "prune-dl sweep")
    assert [p.error for p in first.points] == ["", "RuntimeError: out of memory at line 2", ""]
    second = run_sweep(replace(options, run=replace(options.run, resume=True)), "prune-dl sweep")
    assert [p.error for p in second.points] == ["", "", ""]
    assert second.points[2].accuracy == first.points[2].accuracy


@pytest.mark.slow
def test_points_by_latency_and_by_hardware_widths(tmp_path, monkeypatch):
    asked = []

    def measured(model, structure, example, bench, **_):
        asked.append(bench.provider)
        return {g.name: (*range(3, len(g.units), 3), len(g.units)) for g in structure.groups}

    monkeypatch.setattr(planning, "efficient_widths", measured)
    widths = run_sweep(
        small_sweep(tmp_path, tmp_path / "widths", macs=(0.5,), hardware_widths="cpu"), "a"
    )
    assert labels_of(widths)[-1] == ("macs 0.5", "float32", False)
    plan = Plan.from_json((tmp_path / "widths" / "macs-0.5" / "plan.json").read_text())
    assert all(len(x.kept) % 3 == 0 or len(x.kept) == x.num_filters for x in plan.layers)
    assert any(len(x.kept) < x.num_filters for x in plan.layers)
    fast = run_sweep(small_sweep(tmp_path, tmp_path / "fast", latency_ms=(1e-6, 1e6)), "b")
    assert labels_of(fast)[1:] == [
        ("latency-ms 1e-06", "float32", True),
        ("latency-ms 1e+06", "float32", False),
    ]
    assert "cannot be met" in fast.points[1].error
    assert fast.points[2].macs == fast.points[0].macs
    assert "--latency-ms 1e+06 led to 1.000 of the MACs" in fast.points[2].notes
    assert asked == ["cpu", "cpu"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_makes_the_same_points(tmp_path):
    pytest.importorskip("ray")
    points = {}
    for distributed in (None, "ray"):
        options = small_sweep(
            tmp_path, tmp_path / str(distributed), keep=(0.5, 1e-6), distributed=distributed
        )
        points[distributed] = run_sweep(options, "prune-dl sweep").points
    assert [(p.name, p.macs, p.params, p.error) for p in points["ray"]] == [
        (p.name, p.macs, p.params, p.error) for p in points[None]
    ]
    assert [p.accuracy for p in points["ray"]] == [p.accuracy for p in points[None]]
    assert points["ray"][2].error


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_task_whose_process_dies_does_not_end_the_others(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "0")

    def half_or_die(most, item):
        if item > most:
            os.abort()
        if item < 0:
            raise ValueError("below zero")
        return item / 2

    results = dict(ray_map(half_or_die, 10, [4, 11, 6, -1]))
    assert (results[0], results[2]) == (2.0, 3.0)
    assert "died" in str(results[1])
    assert "below zero" in str(results[3])


def test_ray_that_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"prune-dl\[ray\]") as found:
        list(ray_map(max, 1, [2]))
    assert len(str(found.value).splitlines()) == 1


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sweep_job, "_fill", full)
    argv = ["sweep", "--model", "a.pt", "--keep", "0.5", "--out", str(tmp_path / "out")]
    assert cli.run(argv) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written (No space left on device)" in line
