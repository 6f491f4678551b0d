"""Damaged and hostile files of every kind: one line or success, no code, no hang, within limits.

    PRUNE_DL_FUZZ=10000 pytest -m slow tests/harness/test_mutated_inputs.py

opens 10,000 mutants (about 100 a second on one core); PRUNE_DL_SEED gives others. One found wrong
is kept as FOLDER/found/KIND-NUMBER/NAME, and made again by its kind, number and seed alone.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from harness import amount, run_harness
from harness.attack import Blocked, run_child
from harness.seeds import Kind

FUZZ, SEED = amount("PRUNE_DL_FUZZ", 600), amount("PRUNE_DL_SEED", 0)
KINDS = (
    *("checkpoint", "state-dict", "model", "resume", "plan", "statistics", "spectrum"),
    *("options", "run-json", "point", "sweep", "report", "png", "jpg", "tiff", "bmp", "onnx"),
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all mutants."""
    folder = tmp_path_factory.mktemp("mutants")
    found = run_harness("attack", folder, FUZZ, SEED)
    found["folder"] = str(folder / "found")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutant_ends_in_one_line_or_opens(kind: str, outcome: dict[str, Any]) -> None:
    wrong = [
        f"{kind}-{number}: {what}" for name, number, what in outcome["findings"] if name == kind
    ]
    tried = outcome["tried"][kind]
    assert tried >= FUZZ // len(KINDS)
    assert not wrong, f"{len(wrong)} of {tried}, kept in {outcome['folder']}:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_all_kinds_are_tried_and_damage_is_noticed(outcome: dict[str, Any]) -> None:
    assert set(outcome["tried"]) == set(KINDS)
    assert sum(outcome["refused"].values()) > FUZZ / 5


def run_code(path: Path) -> None:
    try:
        os.system("true")
    except Exception:  # as a parser that swallows everything would
        return


def connect(path: Path) -> None:
    import socket

    socket.create_connection(("127.0.0.1", 9))


def take_memory(path: Path) -> None:
    bytearray(3 * 10**9)


def wait(path: Path) -> None:
    time.sleep(60)


def end(path: Path) -> None:
    os.kill(os.getpid(), 9)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (run_code, "code: os.system"),
        (connect, "code: socket"),
        (take_memory, "MemoryError"),
        (wait, "hangs"),
        (end, "died: Killed"),
        (lambda path: {}["a"], "KeyError"),
        (lambda path: 1, "ok"),
    ],
)
def test_the_harness_sees_each_kind_of_failure(
    read: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("harness.attack.SECONDS", 2.0)
    (answer,) = run_child([("bytes", 0)], {"bytes": Kind("a", b"abc", read)}, 0)
    assert answer.startswith(expected)
    assert not issubclass(Blocked, Exception)
