"""What the README says can be typed: every command parses, the Python snippet runs."""

import re
import shlex
from pathlib import Path

import pytest
from prune_dl.prune.command import cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("prune-dl ")
]


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_flags_that_exist(command: str) -> None:
    assert cli.parse(shlex.split(command)[1:]) is not None


def test_the_python_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(snippet, "README.md", "exec"), {})
    assert "applies=True" in capsys.readouterr().out


@pytest.mark.slow
def test_the_demo_leaves_a_report(tmp_path: Path) -> None:
    assert cli.run(["demo", "--out", str(tmp_path / "demo"), "--json"]) == 0
    assert (tmp_path / "demo" / "pruned" / "report.html").stat().st_size > 100_000
