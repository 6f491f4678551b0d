"""Bars, lines of finished stages, and the file that keeps what is said."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from prune_dl.prune import progress, terminal
from prune_dl.prune.errors import InputError
from prune_dl.prune.progress import RunLog, counted, show_bar
from rich.console import Console

Captured = pytest.CaptureFixture[str]
ROW = {"epoch": 1, "loss": 0.5, "held_out_top1": 0.75, "seconds": 2.0}


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 60 columns in the place of stderr."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=60, height=20)
    monkeypatch.setattr(progress, "stderr", console)
    monkeypatch.setattr(terminal, "stderr", console)
    return text


@pytest.fixture(autouse=True)
def no_handlers() -> Iterator[None]:
    assert not terminal.logger.handlers
    yield
    assert not terminal.logger.handlers


def test_every_finished_stage_is_one_line_of_a_redirected_stderr(capsys: Captured) -> None:
    log = RunLog(show=True, expected=("load", "train", "evaluate"))
    for name in ("load", "extra", "evaluate", "load"):
        with log.stage(name) as report:
            report(1, 2)
    lines = [line.rpartition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["[1/3] load", "extra", "[3/3] evaluate", "load"]


def test_stages_say_what_they_are_a_part_of(capsys: Captured) -> None:
    log = RunLog(show=True, expected=("rank", "repair", "rank", "repair"))
    for step in (1, 2):
        with log.within(f"step {step} of 2"), log.stage("rank"), log.within("network 1 of 3"):
            log.tried("network 1 of 12: 3 ms")
        with log.stage("repair"):
            pass
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(":")[0] for line in lines[1::3]] == [
        "[1/4] step 1 of 2, rank",
        "[3/4] step 2 of 2, rank",
    ]
    assert lines[0] == "  network 1 of 12: 3 ms"
    assert lines[2].startswith("[2/4] repair: ")


def test_a_quiet_log_says_nothing_and_still_counts_seconds(capsys: Captured) -> None:
    log = RunLog()
    with log.stage("load"):
        log.epoch(ROW, 3)
    assert capsys.readouterr() == ("", "")
    assert log.seconds["load"] >= 0


def test_a_bar_moves_until_a_total_is_known_and_then_tells_the_time_left(
    screen: io.StringIO,
) -> None:
    with show_bar("[ 4/13] measure") as report:
        assert "left" not in screen.getvalue()
        for done in (1000, 2000, 7000):
            report(done, 7000)
    text = screen.getvalue()
    assert "0/?" not in text
    assert "7,000 of 7,000" in text
    assert "left" in text


def test_lines_break_between_words_on_a_terminal_and_not_in_a_file(
    screen: io.StringIO, capsys: Captured
) -> None:
    words = " ".join(["response"] * 20)
    terminal.say(words)
    lines = screen.getvalue().splitlines()
    assert len(lines) > 1
    assert set(screen.getvalue().split()) == {"response"}
    terminal.stderr = Console(stderr=True)
    terminal.say(words)
    assert capsys.readouterr().err == f"{words}\n"


@pytest.mark.parametrize(
    ("how", "expected"),
    [({}, "note: a\n"), ({"quiet": True}, ""), ({"verbose": True}, "detail\nnote: a\n")],
)
def test_what_is_heard_on_stderr(capsys: Captured, how: dict[str, bool], expected: str) -> None:
    with terminal.listening(**how):
        terminal.logger.debug("detail")
        terminal.say("note: a")
    assert capsys.readouterr().err == expected


def test_the_file_hears_everything_and_what_ended_it(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "logs" / "run.log"

    def fail() -> None:
        terminal.logger.debug("detail")
        terminal.say("note: a")
        raise KeyError("x")

    with pytest.raises(KeyError), terminal.listening(quiet=True, file=file):
        fail()
    said = [line.split(" ", 2)[2] for line in file.read_text().splitlines()]
    assert said == ["detail", "note: a", "ended by KeyError: 'x'"]
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="`log="), terminal.listening(file=file / "below"):
        pass


def test_a_program_with_its_own_logging_hears_the_stages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), RunLog().stage("measure"):
        pass
    assert caplog.messages[-1].startswith("measure: ")


def test_batches_are_counted_in_images_over_several_passes() -> None:
    seen: list[tuple[int, int]] = []
    batches = [(None, [0] * 3), (None, [0] * 2)]
    for _ in counted(batches, lambda *pair: seen.append(pair), 9):
        pass
    for _ in counted(batches, lambda *pair: seen.append(pair), 9, before=5):
        pass
    assert seen == [(3, 9), (5, 9), (8, 9), (9, 9)]
