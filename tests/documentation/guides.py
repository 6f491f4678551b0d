"""The code of a page under docs/, block by block, and what runs it as a reader would.

| fence                        | what happens                                                      |
|------------------------------|-------------------------------------------------------------------|
| ```sh                        | every line is run, and has to succeed                             |
| ```console                   | lines with $ are run, and have to say what follows them           |
| ```python                    | runs, in one namespace for the page                               |
| ```LANGUAGE title="name.py"  | is written to that file                                           |
| ```LANGUAGE title="not run"  | nothing: the page says that it was not run                        |

Everything happens in the working folder.
"""

import contextlib
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prune_dl.prune.command import cli
from scenes.cpp_runtime import can_compile, link_library, paths

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOT_RUN = "not run"
_FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_FOREIGN = ("openvino",)
"""Packages of other runtimes: a block that imports one runs where it is installed."""


@dataclass(frozen=True)
class Block:
    """One fence: its language, the title it has or "", and the text."""

    language: str
    title: str
    text: str


def blocks_of(page: str) -> list[Block]:
    """Fences of a page, such as "data.md", that name their language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(language, title, body) for language, title, body in _FENCE.findall(text)]


def command_lines(block: Block) -> Iterator[str]:
    """Commands of a block, with lines that are continued put together."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        if command := " ".join(shlex.split(line.removeprefix("$ "), comments=True)):
            yield command


@dataclass
class Reader:
    """Somebody who follows one page."""

    names: dict[str, Any] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        """Run all of a page."""
        for block in blocks_of(page):
            self.take(block)

    def take(self, block: Block) -> None:
        """Run one block, or write its file."""
        if block.title == NOT_RUN:
            return
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            for command in command_lines(block):
                run_command(command)
        elif block.language == "console":
            check_answers(block.text)
        elif block.language == "python" and not _lacks(block.text):
            exec(compile(block.text, "guide", "exec"), self.names)


def _lacks(code: str) -> list[str]:
    """Packages of other runtimes that a block imports and that are not installed."""
    return [x for x in _FOREIGN if f"import {x}" in code and not importlib.util.find_spec(x)]


def run_command(command: str) -> None:
    """Run one line of a shell, which has to succeed."""
    program, *arguments = shlex.split(command)
    if program == "prune-dl":
        code, said = answer(command)
        assert code == 0, f"{command}: {said}"
    elif program == "pip":
        check_extras(command)
    elif program in ("g++", "./classify"):
        run_cpp([program, *arguments])
    else:
        assert program in ("python", "npm", "node"), f"{program}: no test runs this"
        found = sys.executable if program == "python" else shutil.which(program)
        if found:
            subprocess.run([found, *arguments], check=True, capture_output=True, timeout=600)


def run_cpp(command: list[str]) -> None:
    """Compile a program, or run it, where this machine has ONNX Runtime's headers."""
    if can_compile():
        link_library(Path())
        subprocess.run(command, check=True, capture_output=True, timeout=600, env=paths())


def answer(command: str) -> tuple[int, str]:
    """Exit code of a `prune-dl` command, and what it said on stderr and stdout, on one line."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.run(shlex.split(command)[1:])
    return code, " ".join(said.getvalue().split())


def check_extras(command: str) -> None:
    """What `pip install` asks for of this package has to be in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for names in re.findall(r"(?:prune-dl|\.)\[([\w,]+)\]", command):
        assert set(names.split(",")) <= set(project["optional-dependencies"]), command


def check_answers(transcript: str) -> None:
    """Every command of a transcript says what is written after it; "..." stands for anything."""
    for part in re.split(r"^\$ ", transcript, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        _, said = answer(command)
        pattern = ".*".join(re.escape(" ".join(x.split())) for x in wanted.split("..."))
        assert re.search(pattern, said), f"{command}\nsaid: {said}\nnot: {wanted}"
