"""Parts of the report's page by themselves: notes in order, budgets, programs, contents."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.evaluate.measure.layer_times import LayerTimes
from prune_dl.evaluate.report.accuracy_chart import accuracy_against_cost, accuracy_words
from prune_dl.evaluate.report.charts import selection_along_depth, training_curve
from prune_dl.evaluate.report.deployment import snippets
from prune_dl.evaluate.report.forecast_chart import forecast_words, slider_rows
from prune_dl.evaluate.report.label_tables import label_section
from prune_dl.evaluate.report.lines import Change, Latency, Stages
from prune_dl.evaluate.report.page import contents, layer_table, render_page, spoken
from prune_dl.evaluate.report.trust import trust_notes
from prune_dl.export.graph import export_onnx
from prune_dl.prune.inputs.decode import crop_centre
from prune_dl.prune.scores import Accuracy, MeanPrecision
from scenes.report_samples import sample_report
from torch import nn


def test_notes_that_question_the_sentence_come_first_and_layers_are_one_line() -> None:
    layers = [f"Not refitted: layer{i}: why" for i in range(3)]
    notes = trust_notes([*layers, "The machine was noisy.", "Retraining was dropped: why"])
    assert notes.grave == ("Retraining was dropped: why",)
    joined = "Not refitted: 3 layers (layer0: why; layer1: why; layer2: why)"
    assert notes.others == ("The machine was noisy.", joined)
    two = trust_notes(layers[:2])
    assert two.others == tuple(layers[:2])


def test_the_slider_has_cost_size_and_command_of_every_budget() -> None:
    report = sample_report()
    row = slider_rows(report)[6]
    assert row == {
        "share": "30 %",
        "value": "76.0 %",
        "lost": "-12.0 points",
        "macs": "93.96 M",
        "params": "4.416 M",
        "filters": "300",
        "size": "17.76 MB",
        "command": "prune-dl --model vgg16_cifar10.pt --data cifar10/ --macs 0.3 "
        "--out runs/vgg16_cifar10-macs-0.3",
    }
    assert report.forecast is not None
    assert report.forecast.nearest == 6
    assert forecast_words(report) == (
        "Expected held-out top-1: 88.0 % with 90% of the MACs and 72.0 % with 10% of the MACs; "
        "this run measured 86.0 % with 32%"
    )
    assert slider_rows(replace(report, forecast=None)) == []


def test_the_whole_bar_to_p90_is_in_the_chart() -> None:
    slow = Latency(1.0, 9.0, 9.0, 2.0, 3.0)
    report = replace(sample_report(), latency_ms=Change(slow, slow))
    assert accuracy_against_cost(report)["layout"]["xaxis"]["range"][1] > 9.0


def test_probes_are_compared_with_the_network_on_the_same_images() -> None:
    report = sample_report()
    figure = selection_along_depth(report)
    assert figure is not None
    assert figure["layout"]["shapes"][0]["y0"] == pytest.approx(100 * 4401 / 5000)


def test_charts_are_spoken() -> None:
    report = sample_report()
    assert accuracy_words(report).startswith(
        "top-1 against latency, ms (p50; bar to p90): original 87.6 % (87.0 % to 88.3 %) at 9.8; "
    )
    assert spoken(report)["training"] == (
        "Retraining, epoch 1: loss 0.5, held-out 86.1 %; epoch 2: loss 0.25, held-out 87.2 %"
    )
    assert training_curve(report)["data"][0]["y"] == [86.1, 87.2]
    assert spoken(report).keys() == {
        *("filters", "accuracy", "depth", "seconds", "forecast", "training")
    }


def test_contents_name_what_is_there() -> None:
    report = sample_report()
    assert list(contents(report)) == [
        *("stages", "budgets", "labels", "training", "filters", "depth", "single", "layers"),
        *("deploy", "facts", "glossary"),
    ]
    bare = replace(report, forecast=None, label_change=None, training=(), depth=(), pictures=())
    bare = replace(bare, model=replace(report.model, mean=(), std=()))
    assert list(contents(bare)) == ["stages", "filters", "layers", "facts", "glossary"]


def test_labels_that_lost_most_are_first_and_many_are_folded() -> None:
    section = label_section(sample_report(labels=tuple(map(str, range(30)))).label_change)
    assert len(section["first"]) == 10
    assert len(section["all"]) == 30
    assert section["first"][0]["change"] == "-6.0"
    assert label_section(None) == {}


def test_shares_of_multiply_adds_are_of_the_final_network() -> None:
    report = sample_report(num_layers=2)
    report = replace(report, macs=Change(1_000_000, 200_000))
    row = layer_table(report)[0]
    assert report.layers[0].macs is not None
    assert row["mac_share"] == f"{report.layers[0].macs.final / 2000:.1f} %"


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_python_program_feeds_the_file_as_the_network_was_measured(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 30 * 30, 4)).eval()
    labels = '["a", "b", "c", "d"]'
    export_onnx(network, (3, 32, 32), tmp_path / "model.onnx", metadata={"labels": labels})
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels).resize((60, 40), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "picture.jpg", quality=95)
    file = io.BytesIO((tmp_path / "picture.jpg").read_bytes())
    image = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    report = sample_report()
    model = replace(report.model, channel_order=order)
    program = snippets(replace(report, model=model))["Python"]
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(program, found)
    fed = crop_centre(image, 32, 32).float() / 255
    fed = fed.flip(0) if order == "bgr" else fed
    mean, std = (torch.tensor(x)[:, None, None] for x in (model.mean, model.std))
    inputs = found["inputs"]
    assert isinstance(inputs, np.ndarray)
    assert np.abs(inputs[0] - ((fed - mean) / std).numpy()).max() < 0.05  # three grey levels
    with torch.no_grad():
        expected = int(network(torch.from_numpy(inputs)).argmax())
    assert capsys.readouterr().out.strip() == "abcd"[expected]


def test_programs_hold_the_networks_values_or_are_not_there() -> None:
    report = sample_report()
    found = snippets(report)
    assert list(found) == ["Python", "C++", "Browser"]
    assert all("@" not in text.replace("@media", "") for text in found.values())
    assert "mean[C] = {0.49f, 0.48f, 0.45f}" in found["C++"]
    assert "MEAN = [0.49, 0.48, 0.45]" in found["Browser"]
    several = MeanPrecision(np.zeros((2, 1)), np.ones((2, 1), dtype=int))
    many = replace(report, held_out=Stages(several, None, None, several))
    assert "value > 0" in snippets(many)["Python"]
    assert "std::vector<int> answer" in snippets(many)["C++"]
    assert snippets(replace(report, model=replace(report.model, mean=()))) == {}
    assert snippets(replace(report, model=replace(report.model, input_size=(4, 8, 8)))) == {}
    assert Accuracy(1, 2).name not in MeanPrecision(np.zeros((1, 1)), np.ones((1, 1))).name


def test_layers_show_their_share_of_time_and_why_they_keep_so_many() -> None:
    report = sample_report(3)
    assert "Share of time" not in render_page(report)
    first, second, third = report.layers
    first = replace(first, why="widths in steps of 4", together=("dw (depthwise)",))
    layers = (first, second, third)
    times = LayerTimes({first.name: 0.25, "dw": 0.05, second.name: 0.5}, 0.15, 0.05, 50)
    timed = replace(report, layers=layers, layer_times=times)
    page = render_page(timed)
    assert "widths in steps of 4" in page
    shares = [row["latency_share"] for row in layer_table(timed)]
    assert shares == ["30.0 %", "50.0 %", "–"]
    assert "15.0 % goes to operators without weights. 5.0 % goes to operators whose layer" in page


def test_many_layers_that_go_together_are_folded() -> None:
    report = sample_report(3)
    first, *others = report.layers
    few = replace(report, layers=(replace(first, together=("a", "b", "c")), *others))
    assert "together with a, b, c</span>" in render_page(few)
    many = replace(report, layers=(replace(first, together=tuple("abcd")), *others))
    page = render_page(many)
    assert "<summary>together with 4 layers</summary><div>a, b, c, d</div>" in page
