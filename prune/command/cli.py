"""The command line: parse, run, and end with the right exit code.

0 ok, 1 bug, 2 usage, 3 bad file or model, 4 a stated gate was missed, 130 interrupted by Ctrl-C,
143 by SIGTERM. Either way what was finished is kept, and the message says how to go on.
`--help` imports no torch: commands are imported when they run.
"""

import contextlib
import io
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import tyro

from ..errors import PruneError, UsageError
from .config_words import check_config
from .flags import explain, in_flags, one_line
from .home import without_places
from .options_file import from_tables, read_config
from .start import EXAMPLES, answer, check_command, help_asked
from .trees import COMMANDS, Bench, Completion, Job

WITHOUT_FLAGS = (Bench, Completion)
"""Commands whose required options are words without a flag."""


def main(argv: list[str] | None = None) -> None:
    """Run `prune-dl` with these arguments (default: the process's own) and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            code = run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # of `prune-dl ... | head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED_PIPE
    sys.exit(code)


CLOSED_PIPE = 128 + 13
"""Exit code where nobody reads stdout any more, as of a program that SIGPIPE ends."""
NOTHING_KEPT = "nothing was kept; start again with the same command"


class Terminated(KeyboardInterrupt):
    """SIGTERM: whoever looks after this machine wants the process to end."""


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does. Another SIGTERM (`timeout` sends two) does not disturb the ending."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


def run(argv: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        if (text := answer(argv)) is not None:
            print(text)
            return 0
        options = parse(argv)
        from . import dispatch

        dispatch.run_command(options, command=without_places(["prune-dl", *argv]))
    except PruneError as error:
        _complain(one_line(error), error)
        return error.exit_code
    except Terminated as stop:
        _complain("terminated", stop, NOTHING_KEPT)
        return 143
    except KeyboardInterrupt as stop:
        _complain("interrupted", stop, NOTHING_KEPT)
        return 130
    except Exception as error:  # a bug, or no memory: the traceback ends with how to go on
        error.__notes__ = [in_flags(note) for note in getattr(error, "__notes__", ())]
        raise
    return 0


def _complain(reason: str, error: BaseException, otherwise: str = "") -> None:
    """One line on stderr: the reason, and how to go on; `otherwise` where nothing is kept."""
    notes = [in_flags(note) for note in getattr(error, "__notes__", ())] or [otherwise] * bool(
        otherwise
    )
    print("prune-dl: " + "; ".join((reason, *notes)), file=sys.stderr)


def parse(argv: list[str]) -> Any:
    """Options of one command line: flags over `--config` over defaults."""
    argv = help_asked(argv)
    check_command(argv)
    name = argv[0] if argv and argv[0] in COMMANDS else ""
    kind = COMMANDS.get(name, Job)
    rest = argv[1:] if name else argv
    tables = _config_tables(rest)
    default = from_tables(kind, tables, tyro.MISSING) if tables else None
    check_config(tables, rest)
    prog = f"prune-dl {name}".strip()
    about = (EXAMPLES if kind is Job else "") + (kind.__doc__ or "")
    return _parse_flags(kind, rest, prog, about, default)


def _config_tables(argv: list[str]) -> dict[str, Any]:
    for flag, value in zip(argv, [*argv[1:], ""], strict=False):
        if flag == "--config":
            return read_config(Path(value))
        if flag.startswith("--config="):
            return read_config(Path(flag.removeprefix("--config=")))
    return {}


def _parse_flags(kind: type[Any], argv: list[str], prog: str, about: str, default: Any) -> Any:
    """tyro's parser, with its boxed complaints turned into one line."""
    complaints = io.StringIO()
    keywords = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaints):
            return tyro.cli(
                kind,
                prog=prog,
                args=argv,
                description=about,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs)
                if kind in WITHOUT_FLAGS
                else (tyro.conf.OmitArgPrefixes,),
                **keywords,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        said = explain(first_paragraph(complaints.getvalue()), kind, argv)
        raise UsageError(f"{said}; see {prog} --help") from None


def first_paragraph(boxed: str) -> str:
    """First paragraph of a boxed terminal message: from its first rule to the next, or a gap."""
    lines = [re.sub(r"^[│╭╰]\s?|\s*[│╮╯]$", "", line).strip() for line in boxed.splitlines()]
    paragraph: list[str] = []
    for line in lines[1:]:
        is_rule = not line.strip("─-")  # hyphens where the terminal has no box characters
        if paragraph and is_rule:
            break
        if not is_rule:
            paragraph.append(line)
    return " ".join(paragraph)
