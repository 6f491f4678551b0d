"""The contest's code path on a toy: rows, columns, resuming, controls and the table."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import contest
import contest_controls
import contest_page
import contest_scene
import pytest
import torch
from contest import Columns, Row, Settings
from prune_dl.prune.forward import evaluating
from prune_dl.prune.repair.norms import find_norm_behind
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn

PACKAGES = {
    "tp-l2": "torch_pruning",
    "tp-hessian": "torch_pruning",
    "tp-obdc": "torch_pruning",
    "kirigami-group": "torch_kirigami",
    "aimet": "aimet_torch",
    "mct": "model_compression_toolkit",
    "modelopt": "modelopt",
}


def settings_of(file: Path, macs: float = 0.5) -> Settings:
    return Settings(str(file), "digits", macs, images=600, test_images=100)


@pytest.mark.slow
def test_arms_are_measured_once_and_columns_are_added(trained_file: Path, tmp_path: Path) -> None:
    settings = settings_of(trained_file)
    arms = ["mechanism", "l1-merged", "random-unrepaired"]
    rows = contest.run(settings, Columns(), arms, [0], tmp_path)
    assert [row.arm for row in rows] == arms
    for row in rows:
        assert row.values["macs"] == pytest.approx(0.5, rel=0.02)
        assert 0 < row.values["params"] < 1
        assert {"no step", "BN", "ranking", "repair"} <= set(row.values)
    assert rows[0].values["no step"] > rows[2].values["no step"]
    assert rows[0].values["repair"] > 0
    assert rows[2].values["repair"] is None
    more = contest.run(settings, Columns(2, (1,), 0.01), arms[:1], [0], tmp_path)[0]
    assert {"2 batches", "1 epoch", "latency"} <= set(more.values)
    assert more.values.items() >= rows[0].values.items()
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert contest.run(settings, Columns(2, (1,), 0.01), arms[:1], [0], tmp_path) == [more]
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == lines
    assert "mechanism" in (tmp_path / "0.5.html").read_text()
    assert len(json.loads((tmp_path / "0.5.json").read_text())["rows"]) == 1


def test_a_peer_that_fails_is_a_row_with_its_error(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contest_mct

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by no channels")

    monkeypatch.setattr(contest_mct, "make", broken)
    rows = contest.run(settings_of(trained_file), Columns(), ["mct"], [0], tmp_path)
    assert (dict(rows[0].values), rows[0].error) == ({}, "ZeroDivisionError: by no channels")
    table = (tmp_path / "0.5.md").read_text()
    assert "- mct fails: ZeroDivisionError: by no channels" in table


def test_a_peer_that_misses_the_budget_is_a_row_with_its_error(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contest_mct
    from contest_scene import Made, Scene

    def whole(scene: Scene, arm: str, macs: float, seed: int) -> Made:
        return Made(scene.copied(seed), 0.0)

    monkeypatch.setattr(contest_mct, "make", whole)
    row = contest.run(settings_of(trained_file), Columns(), ["mct"], [0], tmp_path)[0]
    assert row.error == "the budget is missed: 100.0% of the multiply-adds"


def test_a_peer_that_was_not_installed_is_tried_again(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contest_mct

    calls = []

    def missing(*_: object) -> None:
        calls.append(1)
        raise ModuleNotFoundError("No module named 'model_compression_toolkit'")

    monkeypatch.setattr(contest_mct, "make", missing)
    for _ in range(2):
        contest.run(settings_of(trained_file), Columns(), ["mct"], [0], tmp_path)
    assert len(calls) == 2


def test_every_arm_has_a_module_that_makes_it() -> None:
    parsed = contest.parse(["--model", "m", "--data", "d", "--out", "o"])
    assert parsed.arms == list(contest.MODULE_OF)
    assert len(parsed.arms) == sum(len(m.ARMS) for m in (*contest.OURS, *contest.PEERS))
    for module in set(contest.MODULE_OF.values()):
        assert callable(importlib.import_module(module).make)


def test_merging_exact_copies_changes_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
    ).eval()  # fmt: skip
    first, norm = model[0], model[1]
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        first.weight[4] = 3 * first.weight[1]
        first.bias[4] = 3 * first.bias[1]
        # The same after the norm, but for a factor of 3 / 2.
        norm.running_var[4] = 4 * (norm.running_var[1] + norm.eps) - norm.eps
        norm.running_mean[4] = 3 * norm.running_mean[1]
        norm.bias[4] = 1.5 * norm.bias[1]
    images = torch.randn(5, 3, 8, 8)
    structure = trace(model, images)
    kept = LayerPlan(structure.groups[0].name, 6, (0, 1, 2, 3, 5))
    whole = [LayerPlan(g.name, len(g.units), tuple(range(len(g.units)))) for g in structure.groups]
    cut = Cut(structure, Plan((kept, *whole[1:])))
    merged = contest_controls.merge(model, cut, find_norm_behind(model, images))
    assert merged[0].out_channels == 5
    with evaluating(merged), torch.no_grad():
        torch.testing.assert_close(merged(images), model(images), atol=1e-5, rtol=1e-5)


def test_filters_that_point_elsewhere_are_not_merged() -> None:
    filters = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    same = contest_controls.Normed(filters, torch.ones(3), torch.zeros(3))
    gone = torch.tensor([1, 2])
    assert contest_controls.merge_scales(same, torch.tensor([0]), gone).tolist() == [[0.0], [0.0]]


def test_a_budget_of_another_kind_is_searched() -> None:
    tried = []

    def prune(share: float) -> nn.Module:
        tried.append(share)
        if share < 0.3:
            raise ZeroDivisionError("too little")
        return nn.Linear(1, round(100 * share))

    scene = SimpleNamespace(share=lambda model: model.out_features / 100)
    found = contest_scene.widest_within(scene, 0.4, prune, 8)
    assert found.out_features == 40
    assert len(tried) == 8
    with pytest.raises(ZeroDivisionError, match="too little"):
        contest_scene.widest_within(scene, 0.2, prune, 8)


def test_the_table_leaves_empty_what_was_not_asked_for() -> None:
    rows = [
        Row("slow", 0, {"no step": 0.5, "BN": 0.625, "latency": None, "10 epochs": 0.75}),
        Row("good", 0, {"no step": 0.875, "BN": 0.5, "2 epochs": 0.5, "repair": 1.25}),
        Row("good", 1, {"no step": 0.625, "BN": 0.5, "repair": 1.25}),
        Row("broken", 0, error="ValueError: no"),
    ]
    assert contest_page.table(rows).splitlines() == [
        "| arm | times as fast | no step | BN re-estimated | 2 epochs | 10 epochs | repair s |",
        "|---|---|---|---|---|---|---|",
        "| good |  | 75.00 ± 12.50 | 50.00 ± 0.00 | 50.00 |  | 1.2 ± 0.0 |",
        "| slow | - | 50.00 | 62.50 |  | 75.00 |  |",
        "| broken | fails | fails | fails | fails | fails | fails |",
        "",
        "- broken fails: ValueError: no",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("arm", PACKAGES)
def test_a_peer_reaches_the_same_budget(trained_file: Path, tmp_path: Path, arm: str) -> None:
    pytest.importorskip(PACKAGES[arm])
    row = contest.run(settings_of(trained_file), Columns(), [arm], [0], tmp_path)[0]
    assert not row.error
    assert row.values["macs"] == pytest.approx(0.5, abs=0.06)
