"""What commands show on stdout, read back: tables, lists of facts, documents."""

import json
import re
from typing import Any

import pytest
from prune_dl.prune.command import cli

Captured = pytest.CaptureFixture[str]

STAGE = re.compile(r"(\[ ?\d+/\d+\] )?[\w ,.]+: \d+\.\d s$|epoch \d+ of \d+: loss ")
"""A line of a finished stage, or of an epoch."""


def shown(capsys: Captured, *argv: str) -> str:
    """Stdout of a command that succeeds, and says no more on stderr than its stages and inputs."""
    capsys.readouterr()
    assert cli.run(list(argv)) == 0
    captured = capsys.readouterr()
    assert beyond_inputs(captured.err) == []
    return captured.out


def beyond_inputs(stderr: str) -> list[str]:
    lines = (line.strip() for line in stderr.splitlines())
    said = [line for line in lines if not STAGE.match(line)]
    return [line for line in said if not line.startswith("prune-dl: input: ")]


def document(capsys: Captured, *argv: str) -> Any:
    return json.loads(shown(capsys, *argv, "--json"))


def rows_of(text: str) -> list[list[str]]:
    """Cells of every row of the tables in a text, columns' names included."""
    lines = [
        line.strip("│┃").replace("┃", "│")
        for line in text.splitlines()
        if line.startswith(("│", "┃"))
    ]
    return [[cell.strip() for cell in line.split("│")] for line in lines]


def facts_of(text: str) -> dict[str, str]:
    """Names and values of lists of facts, each in a line."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if "  " in line]
    return {pair[0]: pair[1] for pair in lines if len(pair) == 2}


def share(value: float) -> str:
    return f"{100 * value:.2f} %"
