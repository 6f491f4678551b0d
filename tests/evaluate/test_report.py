"""The report's file: its schema as documented, finite numbers only, never half written."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report import report as report_module
from prune_dl.evaluate.report.files import write_report
from prune_dl.evaluate.report.lines import Change, Latency, Stages
from prune_dl.evaluate.report.report import Report
from prune_dl.evaluate.report.words import honest_warnings
from scenes.report_samples import sample_report, without_latency


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return json.loads(write_report(sample_report(), folder)[0].read_text())


def test_holds_what_the_schema_promises(written):
    assert written["accuracy"]["original"]["top1"] == 0.8763
    assert written["accuracy"]["repaired"]["low"] < 0.8601 < written["accuracy"]["repaired"]["high"]
    assert written["macs"] == {"original": 313_200_000, "final": 101_000_000}
    assert written["latency_ms"]["final"]["p99"] == 5.0
    assert written["layers"][2]["num_kept"] < written["layers"][2]["num_filters"]
    assert written["certificate"]["ok"] is True
    assert written["schema_version"] == 1


def test_every_field_is_documented():
    undocumented = [f.name for f in fields(Report) if f.name not in report_module.__doc__]
    assert undocumented == []


def test_a_stage_that_was_not_run_is_null():
    report = replace(sample_report(), accuracy=Stages(Accuracy(1, 2), None, None, Accuracy(1, 2)))
    assert report.to_dict()["accuracy"]["repaired"] is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float64("nan")])
def test_a_number_that_is_not_finite_is_refused_by_its_place(bad, tmp_path):
    latency = Latency(1.0, 1.0, bad, 1.0, 0.0)
    report = replace(sample_report(), latency_ms=Change(Latency(1.0, 1.0, 1.0, 1.0, 0.0), latency))
    with pytest.raises(ValueError, match=r"latency_ms\.final\.p99"):
        write_report(report, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numpy_scalars_become_plain_numbers():
    report = replace(
        sample_report(), seconds={"rank": np.float32(0.5)}, macs=Change(np.int64(3), 2)
    )
    document = json.loads(json.dumps(report.to_dict()))
    assert document["seconds"] == {"rank": 0.5}
    assert document["macs"]["original"] == 3


def test_a_value_that_json_has_no_form_for_is_refused_by_its_place():
    report = replace(sample_report(), repair={"weights": object()})
    with pytest.raises(ValueError, match=r"repair\.weights is a object"):
        report.to_dict()


def test_what_the_figures_warn_of_joins_the_warnings(tmp_path):
    report = without_latency(sample_report())
    report = replace(report, warnings=honest_warnings(report))
    document = json.loads(write_report(report, tmp_path)[0].read_text())
    assert document["warnings"][0] == "Retraining was switched off (--epochs 0)."
    assert "Latency was not measured" in document["warnings"][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
