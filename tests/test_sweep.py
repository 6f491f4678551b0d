"""A sweep: its budgets, its folder, and, slowly, a whole one whose failures are rows."""

import json
import sys
from dataclasses import replace

import pytest
from prune_dl.evaluate.accuracy import Accuracy
from prune_dl.evaluate.tradeoff import TradeoffPoint
from prune_dl.prune.config import BenchOptions, DataOptions, NetworkOptions, RunOptions, Sweep
from prune_dl.prune.distribute import ray_map
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.checkpoint import save_checkpoint
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.sweep_job import (
    Budget,
    budgets_of,
    open_folder,
    precisions,
    read_points,
    run_sweep,
    write_points,
)


def sweep(out, resume=False, **options):
    run = RunOptions(out=out, device="cpu", resume=resume)
    return Sweep(network=NetworkOptions(model="m.pt"), run=run, **options)


def test_every_budget_comes_once_in_the_order_given(tmp_path):
    budgets = budgets_of(sweep(tmp_path, keep=(0.9, 0.5, 0.9)))
    assert budgets == (Budget("keep", 0.9), Budget("keep", 0.5))
    assert [b.name for b in budgets_of(sweep(tmp_path, macs=(0.25,)))] == ["macs 0.25"]


@pytest.mark.parametrize("options", [{}, {"keep": (0.5,), "macs": (0.5,)}, {"keep": (0.5, 1.2)}])
def test_impossible_budgets_are_refused(options, tmp_path):
    with pytest.raises(UsageError, match="--keep"):
        budgets_of(sweep(tmp_path, **options))


def test_float32_always_the_others_as_asked(tmp_path):
    assert precisions(sweep(tmp_path)) == ("float32", "float16", "int8")
    assert precisions(sweep(tmp_path, fp16=False, int8=False)) == ("float32",)


def test_points_survive_their_file(tmp_path):
    points = [
        TradeoffPoint("keep 0.5", "int8", Accuracy(3, 4), None, None, 10, 20, 30, "a.onnx"),
        TradeoffPoint("keep 0.5", error="too few filters"),
    ]
    write_points(tmp_path, "keep 0.5", points)
    assert read_points(tmp_path, "keep 0.5") == points


def test_only_the_same_sweep_is_resumed(tmp_path):
    out = tmp_path / "sweep"
    open_folder(out, sweep(out, keep=(0.5,)))
    open_folder(out, sweep(out, resume=True, keep=(0.5, 0.3)))
    with pytest.raises(UsageError, match="other options"):
        open_folder(out, sweep(out, resume=True, keep=(0.5,), rank="l1"))
    with pytest.raises(UsageError, match="--resume"):
        open_folder(out, sweep(out, keep=(0.5,)))


@pytest.mark.slow
def test_a_whole_sweep_and_its_resumption(tmp_path):
    out = tmp_path / "sweep"
    weights = tmp_path / "small.pt"
    arch = "vgg6:in_channels=1,width=0.25"
    save_checkpoint(
        weights, build(arch, 10), Origin(arch, 10, None, (), (1, 16, 16), (0.5,), (0.5,))
    )
    options = Sweep(
        network=NetworkOptions(model=str(weights)),
        data=DataOptions(data="digits"),
        bench=BenchOptions(bench_seconds=0.2),
        run=RunOptions(out=out, device="cpu"),
        keep=(0.5, 1e-6),
        int8=False,
        images=400,
    )
    first = run_sweep(options, "prune-dl sweep")
    assert [(p.name, p.format, bool(p.error)) for p in first.points] == [
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

    made = (out / full.file).stat().st_mtime_ns
    resumed = replace(options, keep=(0.5,), run=replace(options.run, resume=True))
    second = run_sweep(resumed, "prune-dl sweep")
    assert [p.name for p in second.points] == ["original"] * 2 + ["keep 0.5"] * 2
    assert (out / full.file).stat().st_mtime_ns == made
    assert [p.accuracy for p in second.points] == [p.accuracy for p in first.points[:4]]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_makes_the_same_points(tmp_path):
    pytest.importorskip("ray")
    arch = "vgg6:in_channels=1,width=0.25"
    origin = Origin(arch, 10, None, (), (1, 16, 16), (0.5,), (0.5,))
    save_checkpoint(tmp_path / "m.pt", build(arch, 10), origin)
    points = {}
    for distributed in (None, "ray"):
        out = tmp_path / str(distributed)
        options = Sweep(
            network=NetworkOptions(model=str(tmp_path / "m.pt")),
            keep=(0.5, 1e-6),
            images=200,
            fp16=False,
            int8=False,
            distributed=distributed,
            data=DataOptions(data="digits"),
            bench=BenchOptions(bench_seconds=0.1),
            run=RunOptions(out=out, device="cpu"),
        )
        points[distributed] = run_sweep(options, "prune-dl sweep").points
    assert [(p.name, p.macs, p.params, p.error) for p in points["ray"]] == [
        (p.name, p.macs, p.params, p.error) for p in points[None]
    ]
    assert [p.accuracy for p in points["ray"]] == [p.accuracy for p in points[None]]
    assert points["ray"][2].error


def test_ray_that_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"prune-dl\[ray\]"):
        list(ray_map(max, 1, [2]))
