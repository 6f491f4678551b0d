"""The commands on one logit for two labels, and on several labels for an image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from prune_dl.prune import load
from prune_dl.prune.command import cli
from prune_dl.prune.outputs import class_scores
from scenes.two_tasks import bars, indices_of_both, network, rows_of_both, trained
from sklearn.metrics import average_precision_score, f1_score

TASKS = {"several": (3, "rows_of_both"), "one": (1, "indices_of_both")}
TESTED = {"several": rows_of_both()[1].tensors, "one": indices_of_both()[1].tensors}


def flags(folder: Path, task: str) -> list[str]:
    num_outputs, data = TASKS[task]
    file = folder / f"{task}.pt"
    torch.save(trained(num_outputs).state_dict(), file)
    arch = ("--arch", "scenes.two_tasks:network", "--device", "cpu")
    return ["--model", str(file), *arch, "--data", f"scenes.two_tasks:{data}"]


@pytest.fixture(scope="module", params=TASKS)
def run(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, list[str]]:
    """A finished job: its task, its folder and the flags of its network."""
    folder = tmp_path_factory.mktemp("tasks")
    given = flags(folder, request.param)
    more = ("--keep", "0.5", "--epochs", "1", "--bench-seconds", "0.1")
    assert cli.run([*given, "--out", str(folder / "run"), *more, "--json"]) == 0
    return request.param, folder, given


def expected_of(task: str, model: torch.nn.Module) -> dict[str, float]:
    """By hand, on the test part."""
    images, labels = TESTED[task]
    with torch.no_grad():
        outputs = model(images)
    if task == "one":
        return {"top1": float(((outputs[:, 0] > 0).long() == labels).float().mean())}
    precision = average_precision_score(labels, outputs)
    f1 = f1_score(labels, outputs > 0, average="micro")
    return {"mean_average_precision": precision, "micro_f1": f1}


def test_the_job_reports_the_measure_of_its_task(run: tuple[str, Path, list[str]]) -> None:
    task, folder, _ = run
    report = json.loads((folder / "run" / "report.json").read_text())
    final = load(folder / "run" / "model.safetensors", network(TASKS[task][0])).eval()
    for stage, model in (("original", trained(TASKS[task][0])), ("final", final)):
        found = report["accuracy"][stage]
        for name, value in expected_of(task, model).items():
            assert found[name] == pytest.approx(value, abs=1e-6), (stage, name)
        assert found["total"] == 200
    said = {"one": "One output for two labels: ", "several": "Several labels for an image: "}
    assert [x for x in report["warnings"] if x.startswith(said[task])]
    page = (folder / "run" / "report.html").read_text()
    text = json.dumps(report["repair"]) + page
    measure = {"one": "top-1", "several": "mean average precision"}[task]
    assert f"{measure} on the test part" in text
    assert f"held-out {measure}, nothing" in text
    if task == "several":
        assert "top-1" not in text.lower()


def test_the_file_keeps_its_outputs_and_says_how_to_read_them(
    run: tuple[str, Path, list[str]],
) -> None:
    task, folder, _ = run
    file = folder / "run" / "model.onnx"
    session = onnxruntime.InferenceSession(file)
    images, _labels = TESTED[task]
    (outputs,) = session.run(None, {"images": images.numpy()})
    assert outputs.shape == (200, TASKS[task][0])
    metadata = session.get_modelmeta().custom_metadata_map
    answers = {
        "one": "the second label where the output is above 0, else the first",
        "several": "every label whose output is above 0",
    }
    assert metadata["answer"] == answers[task]
    accuracy = json.loads(metadata["accuracy"])
    model = load(folder / "run" / "model.safetensors", network(TASKS[task][0])).eval()
    for name, value in expected_of(task, model).items():
        assert accuracy["test"][name] == pytest.approx(value, abs=1e-6)
    assert accuracy["held_out"]["total"] == 24  # a fifth of 30 is left to calibrate INT8


def test_the_terminal_names_the_measure(
    run: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    task, _, given = run
    assert cli.run(["evaluate", *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name, value in expected_of(task, trained(TASKS[task][0])).items():
        assert found[name] == pytest.approx(value, abs=1e-6)
    assert found["low"] < next(iter(found.values())) < found["high"]


@pytest.mark.parametrize("more", [("--int8", "--max-drop", "10"), ("--embed-preprocess",), ()])
def test_exported_files_are_judged_by_the_task(
    run: tuple[str, Path, list[str]], more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    task, folder, given = run
    out = folder / f"{'-'.join(more) or 'plain'}.onnx"
    assert cli.run(["export", *given, "--out", str(out), "--json", "--test", *more]) == 0
    found = json.loads(capsys.readouterr().out)
    key = {"one": "test_top1", "several": "test_mean_average_precision"}[task]
    name, expected = next(iter(expected_of(task, trained(TASKS[task][0])).items()))
    if "--embed-preprocess" not in more:  # these images are no 8-bit pictures
        assert found[f"held_out_{name}"] > 0.85
    if not more:
        assert found[key] == pytest.approx(expected, abs=1e-6)
        assert found["top1_agreement"] == 1.0
    if "--embed-preprocess" in more:
        pixels = (bars(20, 4)[0].clamp(0, 1) * 255).to(torch.uint8)
        session = onnxruntime.InferenceSession(out)
        (probabilities,) = session.run(None, {"images": pixels.permute(0, 2, 3, 1).numpy()})
        with torch.no_grad():
            outputs = trained(TASKS[task][0])(pixels / 255)
        by_hand = outputs.sigmoid() if task == "several" else class_scores(outputs).softmax(1)
        np.testing.assert_allclose(probabilities, by_hand.numpy(), atol=1e-5)
        answer = session.get_modelmeta().custom_metadata_map["answer"]
        assert answer.endswith("above 0.5" if task == "several" else "highest output")


def test_rank_and_the_hub_folder_know_both_tasks(
    run: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    task, folder, given = run
    assert cli.run(["rank", *given, "--out", str(folder / "ranked"), "--images", "200"]) == 0
    hub = ["export", "--model", str(folder / "run"), "--hub-folder", str(folder / "hub")]
    assert cli.run(hub) == 0
    card = (folder / "hub" / "README.md").read_text()
    measure = {"one": "top-1 accuracy", "several": "mean average precision"}[task]
    assert f"{measure} (95 % interval), test part" in card
    kind = {"one": "type: accuracy", "several": "type: mean_average_precision"}[task]
    assert kind in card


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("rank", ("--probe", "softmax"), "--probe softmax given for data with several labels"),
        ("sweep", ("--keep", "0.5"), "a sweep of data with several labels for an image given"),
    ],
)
def test_what_several_labels_do_not_have_is_one_line(
    command: str,
    more: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = flags(tmp_path, "several")
    assert cli.run([command, *given, "--out", str(tmp_path / "out"), *more]) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
