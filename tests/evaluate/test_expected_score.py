"""A sweep beside the forecast of one of its networks: pairs, differences, page and JSON."""

import json
import re
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest
from prune_dl.evaluate.report.expected_chart import expected_summary, expected_words
from prune_dl.evaluate.report.expected_score import (
    ForecastCheck,
    RepairedNetwork,
    check_forecast,
    mean_and_largest,
    why_no_forecast,
)
from prune_dl.evaluate.report.tradeoff import Tradeoff
from prune_dl.evaluate.report.tradeoff_page import write_tradeoff
from scenes.report_samples import sample_sweep_networks


def checked(networks: tuple[RepairedNetwork, ...]) -> ForecastCheck:
    check = check_forecast(networks)
    assert check is not None
    return check


def test_every_network_meets_what_the_largest_expects_of_its_own_plan() -> None:
    """Changes are loss * 0.5: 0.1, 0.25 and 0.4 of a curve through (0.1, 0.9), (0.4, 0.6)."""
    check = checked(sample_sweep_networks())
    assert check.fitted_to.name == "macs 0.7"
    assert [(p.network.name, p.is_fitted) for p in check.pairs] == [
        ("macs 0.3", False),
        ("macs 0.7", True),
        ("macs 0.5", False),
    ]
    assert [p.expected for p in check.pairs] == pytest.approx([0.6, 0.9, 0.75])
    assert [p.difference for p in check.pairs] == pytest.approx([-4.0, 1.0, 1.0])
    assert mean_and_largest(check.pairs) == pytest.approx((2.0, 4.0))
    assert mean_and_largest(check.others) == pytest.approx((2.5, 4.0))
    assert check.curve == [(0.7, 0.9), (0.3, 0.6)]


def test_what_a_forecast_does_not_speak_of_is_left_out() -> None:
    thin, wide, middle = sample_sweep_networks()
    refused = replace(wide, forecast=None, why_none="the refit of macs 0.7 was not kept")
    check = checked((thin, refused, middle))
    assert check.fitted_to.name == "macs 0.5"
    assert [p.network.name for p in check.pairs] == ["macs 0.3", "macs 0.5"]
    beyond = replace(thin, loss=0.81)
    assert [p.network.name for p in checked((beyond, wide, middle)).pairs] == [
        "macs 0.7",
        "macs 0.5",
    ]
    hardly = replace(thin, loss=0.1)  # half way from the original to the first budget
    assert checked((hardly, wide)).pairs[0].expected == pytest.approx((0.96 + 0.9) / 2)
    assert check_forecast((refused,)) is None
    assert why_no_forecast((refused, refused)) == (
        "No forecast can be compared: the refit of macs 0.7 was not kept."
    )
    assert "no network was repaired" in why_no_forecast(())


def test_one_sentence_tells_the_fitted_network_apart() -> None:
    thin, wide, middle = sample_sweep_networks()
    assert expected_summary(checked((thin, wide, middle))) == (
        "Over 3 networks, measured and expected top-1 are 2.0 points apart in the mean and 4.0 at "
        "most; without macs 0.7, to which the forecast was fitted, 2.5 and 4.0."
    )
    assert expected_summary(checked((wide,))).endswith(
        "1.0 at most; that is macs 0.7, to which the forecast was fitted."
    )
    assert expected_words(checked((wide,))) == (
        "macs 0.7: expected 90.0 %, measured 91.0 % with 70 % of the MACs"
    )


def sweep_of(networks: tuple[RepairedNetwork, ...]) -> Tradeoff:
    return Tradeoff("prune-dl sweep", "2026", (), "CPU", 1, {}, repaired=networks)


def test_page_and_json_show_the_forecast_beside_the_sweep(tmp_path: Path) -> None:
    json_file, _, page_file = write_tradeoff(sweep_of(sample_sweep_networks()), tmp_path)
    found = json.loads(json_file.read_text())["expected_after_repair"]
    assert (found["fitted_to"], found["measure"], found["num_images"]) == ("macs 0.7", "top-1", 360)
    assert found["largest_difference_points"] == pytest.approx(4.0)
    assert found["mean_difference_points_of_others"] == pytest.approx(2.5)
    assert [x["macs_share"] for x in found["networks"]] == [0.3, 0.7, 0.5]
    page = page_file.read_text()
    (text,) = re.findall(
        r'<script type="application/json" id="figure-expected">(.*?)</script>', page
    )
    resolved = json.loads(re.sub(r"var\(--\w+\)", "#123456", text))
    go.Figure(data=resolved["data"], layout=resolved["layout"])
    line, expected, measured = resolved["data"]
    assert line["y"] == pytest.approx([90, 60])
    assert expected["y"] == pytest.approx([60, 90, 75])
    assert measured["y"] == pytest.approx([56, 91, 76])
    assert expected["x"] == measured["x"] == pytest.approx([30, 70, 50])
    assert 'aria-label="Expected against measured: macs 0.3: expected 60.0 %' in page
    assert "without macs 0.7, to which the forecast was fitted, 2.5 and 4.0." in page
    assert "<td>macs 0.7 (fitted to)</td>" in page.replace(' class="nowrap"', "")


def test_without_a_forecast_one_sentence_says_why_and_there_is_no_chart(tmp_path: Path) -> None:
    why = "a forecast takes allocate=output"
    blind = tuple(replace(x, forecast=None, why_none=why) for x in sample_sweep_networks())
    json_file, _, page_file = write_tradeoff(sweep_of(blind), tmp_path)
    sentence = f"No forecast can be compared: {why}."
    assert json.loads(json_file.read_text())["expected_after_repair"] == {
        "fitted_to": None,
        "why_none": sentence,
    }
    page = page_file.read_text()
    assert f'<p id="expected-summary">{sentence}</p>' in page
    assert "figure-expected" not in page
