"""`prune-dl completion`: what a shell needs to complete commands and flags, written by tyro."""

import contextlib
import io
from typing import Annotated, Any, Union

import tyro

from .trees import COMMANDS


def completion_script(shell: str) -> str:
    """The completions of every command and its flags, for one shell.

    Args:
        shell: bash, zsh or tcsh.
    """
    named = (Annotated[tree, tyro.conf.subcommand(name)] for name, tree in COMMANDS.items())
    every: Any = Union[tuple(named)]  # noqa: UP007  # of a tuple that is made here
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        tyro.cli(
            every,
            prog="prune-dl",
            args=["--tyro-print-completion", shell],
            config=(tyro.conf.OmitArgPrefixes,),
        )
    return "\n".join(map(_on_one_line, script.getvalue().splitlines()))


def _on_one_line(line: str) -> str:
    """tyro breaks the descriptions of flags over lines, and bash would offer each as a word."""
    return line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC") else line
