"""What a run has finished is never lost: refused, failed and interrupted runs, and going on."""

import errno
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.command import cli, delivery, dispatch, rank
from prune_dl.prune.command import prune as prune_command
from prune_dl.prune.command.sweep import points
from prune_dl.prune.files import read_safetensors
from prune_dl.prune.folder import output_folder
from prune_dl.prune.job import plan as planning
from prune_dl.prune.job import stages, steps
from prune_dl.prune.job.kept import Kept
from prune_dl.prune.lock import only_writer
from prune_dl.prune.training import train
from scenes.jobs import FinishedRun, job

FLAGS = ("--keep", "0.6", "--epochs", "2")
"""Of `finished_run`, which every run here has to end like."""


@pytest.fixture
def home(trained_file: Path, tmp_path: Path) -> Path:
    """A folder to write to, with a trained network, digits.pt."""
    shutil.copy(trained_file, tmp_path)
    return tmp_path


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def must_not_run(*_: Any, **__: Any) -> None:
    pytest.fail("this stage was finished before")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def same_result(one: Path, other: Path) -> bool:
    """Plan and weights, bit for bit; and nothing is left of the state."""
    names = ("plan.json", "model.safetensors")
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def halt(home: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *flags: str) -> Path:
    """A run during which somebody presses Ctrl-C; its unfinished folder."""
    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupt)
        assert job(home, "out", *(flags or FLAGS)) == 130
    return home / ".out.partial"


def test_a_refused_resume_names_what_differs_and_deletes_nothing(
    home: Path,
    finished_run: FinishedRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = train.save_state

    def save_and_interrupt(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", save_and_interrupt)
        assert job(home, "out", *FLAGS) == 130
    capsys.readouterr()
    partial = home / ".out.partial"
    before = contents(partial)
    assert "retraining.pt" in before
    weights = torch.load(home / "digits.pt", weights_only=True)
    weights["state_dict"]["classifier.bias"] += 1
    torch.save(weights, home / "other.pt")
    refused = {
        ("--rank", "l1"): "another --rank (mechanism then, l1 now)",
        ("--keep", "0.5"): "another --keep (0.6 then, 0.5 now)",
        ("--epochs", "3"): "another --epochs (2 then, 3 now)",
        ("--seed", "1"): "another --seed (0 then, 1 now)",
        ("--model", str(home / "other.pt")): "another --model (",
        ("--mean", "0.4"): "another --mean (",
        ("--held-out", "0.2"): "another number of images (",
        ("--data", "digts"): "--data digts",
    }
    for flags, said in refused.items():
        capsys.readouterr()
        assert job(home, "out", *FLAGS, "--resume", *flags) in (2, 3)
        lines = capsys.readouterr().err.splitlines()
        line = [x for x in lines if x.startswith("prune-dl:")][-1]
        assert said in line
        assert contents(partial) == before
    assert job(home, "out", *FLAGS, "--resume") == 0
    assert same_result(home / "out", finished_run.folder)


def test_a_first_epoch_that_is_interrupted_keeps_plan_and_repaired_network(
    home: Path,
    finished_run: FinishedRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    partial = halt(home, monkeypatch, train, "_train_epoch")
    said = capsys.readouterr().err
    assert f"prune-dl: interrupted; what was finished is kept in {partial}; --resume goes" in said
    assert sorted(path.name.split("-")[0] for path in (partial / "kept").iterdir()) == [
        "planned",
        "repaired",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(steps, "make_plan", must_not_run)
        patch.setattr(stages, "repair_and_check", must_not_run)
        assert job(home, "out", *FLAGS, "--resume") == 0
    assert same_result(home / "out", finished_run.folder)


@pytest.mark.parametrize(
    "kind",
    ["disk", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("memory", "bug"))],
)
def test_a_failure_after_the_retraining_costs_no_training(
    kind: str,
    home: Path,
    finished_run: FinishedRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where, failure = {
        "disk": ((prune_command, "write_report"), OSError(errno.ENOSPC, "No space left on device")),
        "memory": ((delivery, "compare"), MemoryError()),
        "bug": ((delivery, "export_onnx"), RuntimeError("x")),
    }[kind]

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(*where, fail)
        if kind == "disk":
            assert job(home, "out", *FLAGS) == 3
            said = capsys.readouterr().err
        else:
            with pytest.raises(type(failure)) as caught:
                job(home, "out", *FLAGS)
            said = " ".join(caught.value.__notes__)
    assert f"what was finished is kept in {home / '.out.partial'}; --resume goes on" in said
    with monkeypatch.context() as patch:
        patch.setattr(train, "_train_epoch", must_not_run)
        assert job(home, "out", *FLAGS, "--resume") == 0
    assert same_result(home / "out", finished_run.folder)
    rows = (home / "out" / "metrics.jsonl").read_text().splitlines()
    assert len([row for row in rows if '"retrain"' in row]) == 2


def test_statistics_that_took_long_are_not_measured_again(
    home: Path, finished_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prune_command, "Kept", partial(Kept, seconds=0))
        patch.setattr(planning, "choose_ranking", interrupt)
        assert job(home, "out", *FLAGS) == 130
    with monkeypatch.context() as patch:
        patch.setattr(planning, "measure", must_not_run)
        assert job(home, "out", *FLAGS, "--resume") == 0
    assert same_result(home / "out", finished_run.folder)


@pytest.mark.parametrize("probe", ["ridge", pytest.param("softmax", marks=pytest.mark.slow)])
def test_a_ranking_goes_on_from_what_it_measured(
    probe: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: str, *flags: str) -> int:
        argv = ["rank", "--model", str(home / "digits.pt"), "--probe", probe, "--images", "500"]
        return cli.run([*argv, "--out", str(home / out), *flags])

    assert run("whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(rank, "Kept", partial(Kept, seconds=0))
        patch.setattr(rank, "rank_by", interrupt)
        assert run("halted") == 130
    assert run("halted", "--resume", "--images", "400") == 2
    with monkeypatch.context() as patch:
        patch.setattr(rank, "measure", must_not_run)
        patch.setattr(rank, "collect", must_not_run)
        patch.setattr(rank, "spectrum_by_softmax", must_not_run)
        assert run("halted", "--resume") == 0
    names = ("spectrum.safetensors", "filters.csv")
    whole, halted = contents(home / "whole"), contents(home / "halted")
    assert whole.keys() == halted.keys()
    assert [whole[name] for name in names] == [halted[name] for name in names]


def test_with_nothing_to_go_on_from_a_resume_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", str(home / "digits.pt"))
    out = ("--out", str(home / "new"), "--resume")
    for argv in (
        [*model, *FLAGS, *out],
        [*model, *FLAGS, *out, "--dry-run"],
        ["train", "--arch", "vgg6:width=0.05", *out],
        ["rank", *model, *out],
        ["sweep", *model, "--keep", "0.5", *out],
    ):
        capsys.readouterr()
        assert cli.run(argv) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("prune-dl: --resume given")
        assert "nothing to go on from" in line
    assert [path.name for path in home.iterdir()] == ["digits.pt"]


def test_a_training_goes_on_and_only_with_the_same_options(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(out: str, *flags: str) -> int:
        argv = ["train", "--arch", "vgg6:width=0.05", "--epochs", "2", "--out", str(home / out)]
        return cli.run([*argv, *flags])

    save, state = train.save_state, home / "b.pt.resume"

    def save_and_interrupt(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    assert run("a.pt") == 0
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", save_and_interrupt)
        assert run("b.pt") == 130
    assert f"interrupted; what was finished is kept in {state}; --resume" in capsys.readouterr().err
    before = state.read_bytes()
    for flags, said in (
        (("--lr", "0.2"), "another --lr (0.1 then, 0.2 now)"),
        (("--arch", "vgg6:width=0.06"), "another --arch"),
        (("--seed", "1"), "another --seed (0 then, 1 now)"),
        (("--held-out", "0.3"), "another number of images"),
    ):
        assert run("b.pt", "--resume", *flags) == 3
        assert said in capsys.readouterr().err
        assert state.read_bytes() == before
    assert run("b.pt") == 2
    assert "holds an unfinished run; give --resume" in capsys.readouterr().err
    assert run("b.pt", "--resume") == 0
    assert (home / "a.pt").read_bytes() == (home / "b.pt").read_bytes()
    assert not state.exists()


def test_sigterm_ends_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def terminate(*_: Any, **__: Any) -> None:
        with output_folder(tmp_path / "out") as folder:
            (folder / "retraining.pt").touch()
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("it goes on")

    monkeypatch.setattr(dispatch, "run_command", terminate)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main(["doctor"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 143
    assert "prune-dl: terminated; what was finished is kept in" in capsys.readouterr().err
    assert (tmp_path / ".out.partial" / "retraining.pt").exists()


def test_a_sweep_goes_on_only_with_the_same_network_and_seed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sweep", "--model", str(home / "digits.pt"), "--keep", "0.5"]
    argv += ["--images", "300", "--no-int8", "--out", str(home / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(points, "plan_within", interrupt)
        assert cli.run(argv) == 130
    assert "what was finished is kept in" in capsys.readouterr().err
    before = contents(home / "out")
    assert cli.run([*argv, "--resume", "--seed", "1"]) == 2
    assert "another --seed (0 then, 1 now)" in capsys.readouterr().err
    weights = torch.load(home / "digits.pt", weights_only=True)
    weights["state_dict"]["classifier.bias"] += 1
    torch.save(weights, home / "digits.pt")
    assert cli.run([*argv, "--resume"]) == 2
    assert "another --model" in capsys.readouterr().err
    assert contents(home / "out") == before


def test_every_command_refuses_what_another_one_writes(
    home: Path, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = ("--model", str(home / "digits.pt")), home / "out"
    run, hub = str(finished_run.folder), ("--hub-folder", str(out))
    with only_writer(out):
        for argv in (
            [*model, *FLAGS, "--out", str(out)],
            [*model, *FLAGS, *hub],
            ["train", "--arch", "vgg6:width=0.05", "--out", str(out)],
            ["rank", *model, "--out", str(out)],
            ["sweep", *model, "--keep", "0.5", "--out", str(out)],
            ["export", *model, "--out", str(out)],
            ["export", "--model", run, *hub],
        ):
            capsys.readouterr()
            assert cli.run(argv) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert f"is being written by process {os.getpid()}" in line
    assert [path.name for path in home.iterdir()] == ["digits.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--steps", "3"), ("--cut-depth",), ("--rank", "auto")])
def test_longer_ways_are_resumed_to_the_same_network(
    flags: tuple[str, ...], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--macs", "0.5", "--epochs", "2", *flags)
    assert job(home, "whole", *flags) == 0
    halt(home, monkeypatch, train, "_train_epoch", *flags)
    save, saved = train.save_state, 0

    def save_and_interrupt(*given: Any) -> None:
        nonlocal saved
        save(*given)
        saved += 1
        if saved == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", save_and_interrupt)
        assert job(home, "out", *flags, "--resume") == 130
    assert job(home, "out", *flags, "--resume") == 0
    assert same_result(home / "whole", home / "out")
    tensors, _ = read_safetensors(home / "out" / "model.safetensors")
    assert tensors
