"""Figures of a run for a tracker: the protocol, who speaks it, and what goes wrong."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune import compress
from prune_dl.prune.command import cli
from prune_dl.prune.command.config_words import check_config
from prune_dl.prune.command.tracking import open_tracker, tracking
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.progress import RunLog
from prune_dl.prune.tracking.mlflow import MlflowTracker
from prune_dl.prune.tracking.tensorboard import TensorBoardTracker
from prune_dl.prune.tracking.tracker import finishing
from scenes.recorder import Broken, Recorder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

Captured = pytest.CaptureFixture[str]
ROW = {"stage": "retrain", "epoch": 2, "loss": 0.5, "held_out_top1": 0.75}


def job(tracker: Any, **options: Any) -> Any:
    """Half of a small network, retrained for two epochs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    inputs = torch.randn(200, 4)
    items = TensorDataset(inputs, network(inputs).argmax(1))
    loader = DataLoader(items, batch_size=50)
    options = {"macs": 0.5, "epochs": 2, **options}
    return compress(network, loader, num_labels=2, tracker=tracker, **options)


def test_every_epoch_and_the_final_figures_go_to_the_tracker() -> None:
    tracker = Recorder()
    result = job(tracker)
    assert tracker.steps_of("retrain/loss") == [1, 2]
    assert tracker.steps_of("retrain/held_out_top1") == [1, 2]
    last = {name: value for name, value, _ in tracker.figures}
    for stage, score in result.outcome.held_out.items():
        assert last[f"{stage}/held_out_top1"] == score.value
    assert last["original/macs"] == result.planned.original.macs
    assert last["final/macs"] == result.planned.left.macs < last["original/macs"]
    assert tracker.ended == [False]
    with pytest.raises(UsageError):
        job(tracker, epochs=-1)
    assert tracker.ended == [False, True]


def test_steps_have_names_of_their_own() -> None:
    tracker = Recorder()
    job(tracker, steps=2, macs=0.5625)
    assert tracker.steps_of("step 1 of 2/retrain/loss") == [1]
    assert tracker.steps_of("step 2 of 2/retrain/loss") == [1, 2]


def test_a_tracker_that_fails_is_told_of_once_and_ends_nothing(
    tmp_path: Path, capsys: Captured
) -> None:
    tracker = Broken()
    log = RunLog(show=True, file=tmp_path / "metrics.jsonl", tracker=tracker)
    for _ in range(3):
        log.log(ROW)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert len(tracker.figures) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prune-dl: note: Broken failed (ConnectionError: no route to host) and")


def test_an_end_that_fails_is_told_of_too(capsys: Captured) -> None:
    class Unfinished(Recorder):
        def finish(self, failed: bool) -> None:
            raise OSError("disk full")

    with pytest.raises(KeyError), finishing(Unfinished()):
        raise KeyError("of the run")
    assert "Unfinished failed (OSError: disk full)" in capsys.readouterr().err


def test_a_tracker_of_the_users_own_gets_the_name_of_the_run(tmp_path: Path) -> None:
    with tracking("scenes.recorder:Recorder", tmp_path / "keep-0.5") as tracker:
        assert isinstance(tracker, Recorder)
    assert (tracker.name, tracker.ended) == ("keep-0.5", [False])
    with tracking(None, tmp_path) as nobody:
        assert nobody is None


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (
            "wandb",
            UsageError,
            "`track=wandb` given; expected tensorboard, mlflow or package.module",
        ),
        (
            "builtins:str",
            InputError,
            "`track=builtins:str` given, which returns a str; expected an",
        ),
        ("scenes.recorder:Nobody", InputError, "has no callable named Nobody"),
    ],
)
def test_what_is_no_tracker_is_refused(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_tracker(name, Path("runs/half"))


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    argv = ["--model", "digits.pt", "--keep", "0.5", "--track", name]
    assert cli.run([*argv, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f'install it with pip install "prune-dl[{name}]"')
    assert not list(tmp_path.iterdir())
    assert cli.run([*argv, "--dry-run"]) == 2
    assert f"--track {name} given with --dry-run" in capsys.readouterr().err


def test_a_file_of_options_may_not_name_code_that_tracks() -> None:
    check_config({"track": "mlflow"}, [])
    with pytest.raises(UsageError, match="`config` names `track=a:b`, which runs code"):
        check_config({"track": "a:b"}, [])
    check_config({"track": "a:b"}, ["--track", "a:b"])


@pytest.mark.slow
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job(TensorBoardTracker(tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    losses = events.Scalars("retrain/loss")
    assert [event.step for event in losses] == [1, 2]
    assert events.Scalars("final/macs")[0].value < events.Scalars("original/macs")[0].value


@pytest.mark.slow
def test_mlflow_reads_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    tracker = MlflowTracker("half")
    job(tracker)
    client = mlflow.MlflowClient()
    history = client.get_metric_history(tracker.run_id, "retrain/loss")
    assert [one.step for one in history] == [1, 2]
    run = client.get_run(tracker.run_id)
    assert (run.info.run_name, run.info.status) == ("half", "FINISHED")
    with finishing(MlflowTracker("other")):
        pass  # a second run of the same experiment
    assert len(client.search_runs([run.info.experiment_id])) == 2
