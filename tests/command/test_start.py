"""What `prune-dl` says before any command; how it ends when nobody reads or somebody stops it."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from prune_dl.prune.command import cli, dispatch
from prune_dl.prune.command.flags import leaves
from prune_dl.prune.command.init import config_text
from prune_dl.prune.command.trees import COMMANDS, Demo, Init, Job
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.options import DataOptions, NetworkOptions, RunOptions, SelectOptions

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, *argv: str) -> str:
    assert cli.run(list(argv)) == 0
    return capsys.readouterr().out


def test_a_bare_call_shows_a_short_help_that_fits_80_columns(capsys: Captured) -> None:
    text = said(capsys)
    assert text == said(capsys, "help")
    assert all(f"  {name} " in text for name in COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


def test_the_version_is_that_of_the_package(capsys: Captured) -> None:
    assert said(capsys, "--version") == f"prune-dl {metadata.version('prune-dl')}\n"


def test_a_quiet_demo_does_quietly_what_it_consists_of(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[RunOptions] = []
    for name in ("prune_dl.prune.command.train.run_train", "prune_dl.prune.command.dispatch._job"):
        monkeypatch.setattr(name, lambda options, *_: runs.append(options.run))
    for flags in (["-q"], ["-v", "--log", "a.log"]):
        dispatch.RUN[Demo](cli.parse(["demo", *flags, "--out", "missing"]), "prune-dl demo")
    assert [(run.quiet, run.verbose, str(run.log)) for run in runs] == [
        *[(True, False, "None")] * 2,
        *[(False, True, "a.log")] * 2,
    ]


def test_prune_is_a_verb(capsys: Captured) -> None:
    argv = ["--model", "a.pt", "--keep", "0.5"]
    assert cli.parse(["prune", *argv]) == cli.parse(argv)


def test_help_of_a_command_is_its_help(capsys: Captured) -> None:
    shown = []
    for argv in (["help", "rank"], ["rank", "--help"]):
        with pytest.raises(SystemExit):
            cli.run(argv)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "--probe" in shown[0]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_names_every_command_and_its_flags(capsys: Captured, shell: str) -> None:
    script = said(capsys, "completion", shell)
    assert all(name in script for name in COMMANDS)
    assert "--probe-epochs" in script


def test_flags_that_mean_nothing_to_a_command_are_not_shown(capsys: Captured) -> None:
    for command, flag in (("evaluate", "--out "), ("export", "--resume"), ("train", "--distill")):
        with pytest.raises(SystemExit):
            cli.run([command, "--help"])
        assert flag not in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_causes_no_traceback() -> None:
    """As `prune-dl ... | head -1`: the other end is closed before anything is written."""
    command = [sys.executable, "-m", "prune_dl.prune", "--version"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_name_of_timm_that_was_meant_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean resnet18"):
        build("timm:resnt18", 10)


def stopped(capsys: Captured, monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> str:
    def interrupted(options: object, command: str) -> None:
        raise stop

    monkeypatch.setattr(dispatch, "run_command", interrupted)
    assert cli.run(["doctor"]) == 130
    return capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    told = stopped(capsys, monkeypatch, KeyboardInterrupt())
    assert told == ("prune-dl: interrupted; nothing was kept; start again with the same command\n")
    stop = KeyboardInterrupt()
    stop.add_note("what was finished is kept in runs/a; `resume` goes on with it")
    told = stopped(capsys, monkeypatch, stop)
    assert "kept in runs/a; --resume goes on with it" in told
    assert "nothing" not in told


def test_init_writes_a_job_that_runs_and_names_every_option(
    capsys: Captured, tmp_path: Path
) -> None:
    file = tmp_path / "job.toml"
    flags = ("--model", "a.pt", "--data", "digits", "--keep", "0.5", "--out", str(file))
    assert f"result: {file}, after" in said(capsys, "init", *flags)
    assert cli.parse(["--config", str(file)]) == Job(
        NetworkOptions(model="a.pt"),
        DataOptions(data="digits"),
        SelectOptions(keep=0.5),
        run=RunOptions(config=file),
    )
    text = file.read_text(encoding="utf-8")
    for name in leaves(Job).keys() - {"config", "trust_pickle", "trust_file"}:
        assert re.search(rf"^(# )?{name} = ", text, re.M), name
    assert cli.run(["init", "--out", str(file)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_every_default_that_init_shows_is_one(tmp_path: Path) -> None:
    text = config_text(Init(model="a.pt"))
    shown_defaults = re.sub(r"^# (\w+ = [^ (].*)$", r"\1", text, flags=re.M)
    assert shown_defaults.count("\n# ") < text.count("\n# ")
    file = tmp_path / "job.toml"
    file.write_text(shown_defaults, encoding="utf-8")
    assert cli.parse(["--config", str(file)]) == Job(
        NetworkOptions(model="a.pt"),
        select=SelectOptions(keep=0.6),
        run=RunOptions(config=file),
    )
