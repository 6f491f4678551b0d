"""The Pareto front against its definition, and the files of a sweep."""

import csv
import io
import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report.tradeoff import (
    Tradeoff,
    TradeoffPoint,
    pareto_front,
    to_csv,
    tradeoff_rows,
)
from prune_dl.evaluate.report.tradeoff_page import tradeoff_headline, write_tradeoff

small_costs = st.tuples(st.integers(0, 12), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 4).map(float))
)


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


@settings(deadline=None)
@given(small_costs)
def test_front_is_what_nothing_dominates(costs_PC):
    expected = [not any(dominates(a, b) for a in costs_PC) for b in costs_PC]
    assert pareto_front(costs_PC).tolist() == expected


@settings(deadline=None)
@given(small_costs, st.randoms())
def test_front_does_not_depend_on_the_order(costs_PC, random):
    order = list(range(len(costs_PC)))
    random.shuffle(order)
    assert pareto_front(costs_PC[order]).tolist() == pareto_front(costs_PC)[order].tolist()


def point(name, correct, latency_ms, size_bytes, **more):
    return TradeoffPoint(
        name, "float32", Accuracy(correct, 1000), latency_ms, latency_ms * 1.1, size_bytes, **more
    )


@pytest.fixture
def sweep():
    points = (
        point("original", 880, 10.0, 60_000_000, file="original.onnx"),
        point("keep 0.6", 871, 4.0, 16_000_000, file="k6/model.onnx"),
        point("keep 0.3", 820, 4.1, 16_500_000),
        TradeoffPoint(
            "keep 0.6", "int8", Accuracy(868, 1000), 2.0, 2.4, 4_000_000, notes="minmax <8 bits>"
        ),
        TradeoffPoint("keep 0.1", error="layer features.0 would be empty"),
        TradeoffPoint("keep 0.2", accuracy=Accuracy(999, 1000)),
        point("keep 0.15", 999, 0.1, 1, error="the file differs from the network"),
    )
    return Tradeoff(
        command="prune-dl sweep --keep 0.6 0.3",
        created="2026-11-23",
        points=points,
        provider="CPUExecutionProvider",
        batch_size=1,
        environment={"torch": "2.15.0"},
    )


def test_failures_and_unmeasured_points_are_rows_and_never_on_the_front(sweep):
    assert sweep.on_front == (True, True, False, True, False, False, False)
    assert len(tradeoff_rows(sweep)) == 7
    assert tradeoff_headline(sweep).startswith("3 of 7 networks")
    assert tradeoff_headline(sweep).endswith("2 failed.")


def test_csv_holds_every_row_with_empty_cells_where_nothing_was_measured(sweep):
    read = list(csv.DictReader(io.StringIO(to_csv(sweep))))
    assert [row["name"] for row in read] == [p.name for p in sweep.points]
    assert float(read[1]["top1"]) == 0.871
    assert read[4]["top1"] == ""
    assert read[4]["error"] == "layer features.0 would be empty"


def test_files_agree_and_the_page_shows_every_point(sweep, tmp_path):
    json_file, csv_file, page_file = write_tradeoff(sweep, tmp_path)
    document = json.loads(json_file.read_text())
    assert document["points"] == tradeoff_rows(sweep)
    assert csv_file.read_text() == to_csv(sweep)
    page = page_file.read_text()
    assert "failed: layer features.0 would be empty" in page
    assert "86.80 %" in page
    assert "minmax &lt;8 bits&gt;" in page
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("cost", ["latency_ms", "size_bytes"])
def test_figures_are_valid_plotly_and_fill_the_front_only(sweep, cost, tmp_path):
    page = write_tradeoff(sweep, tmp_path)[2].read_text()
    name = cost.split("_")[0]
    (text,) = re.findall(
        rf'<script type="application/json" id="figure-{name}">(.*?)</script>', page
    )
    figure = json.loads(text)
    resolved = json.loads(re.sub(r"var\(--\w+\)", "#123456", text))
    go.Figure(data=resolved["data"], layout=resolved["layout"])
    right = figure["layout"]["xaxis"]["range"][1]
    for point in sweep.points[:4]:
        end = point.latency_p90_ms if cost == "latency_ms" else point.size_bytes / 1e6
        assert end < right, "no bar is cut off"
    float32 = figure["data"][0]
    assert float32["text"] == ["original", "keep 0.6", ""]
    assert [c == "var(--card)" for c in float32["marker"]["color"]] == [False, False, True]


def test_a_sweep_where_everything_failed_still_has_a_page(sweep, tmp_path):
    failed = Tradeoff(
        "prune-dl sweep", "2026", sweep.points[4:5], "CPUExecutionProvider", 1, {}, ()
    )
    assert "failed" in write_tradeoff(failed, tmp_path)[2].read_text()
