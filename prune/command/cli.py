"""The command line: parse, run, and end with the right exit code.

0 ok, 1 bug, 2 usage, 3 bad file or model, 4 a stated gate was missed, 130 interrupted by Ctrl-C,
143 by SIGTERM. Either way what was finished is kept, and the message says how to go on.
`--help` imports no torch: commands are imported when they run.
"""

import contextlib
import io
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
from .trees import COMMANDS, Bench, Job

HELP_EXAMPLES = """Examples:
  prune-dl demo                                   the whole job on handwritten digits, no download
  prune-dl --model vgg16.pt --keep 0.6            the whole job; the file names its data
  prune-dl --model vgg16.pt --data images/ --macs 0.4 --epochs 0      repair only, no training
  prune-dl --model torchvision:resnet18 --data images/ --keep 0.5 --dry-run
  prune-dl --model unet.pt --arch my_nets:unet --data pictures/ --macs 0.5    any vision network
  prune-dl train --arch vgg16 --data cifar10 --epochs 60 --out vgg16.pt
  prune-dl rank --model vgg16.pt                  what every layer and filter selects
  prune-dl sweep --model vgg16.pt --keep 0.9 0.7 0.5 0.3   which sizes are worth having
  prune-dl bench original.onnx model.onnx         latency of ONNX files, interleaved

Other commands: export, evaluate, doctor; each has its own --help.

"""


def main(argv: list[str] | None = None) -> None:
    """Run `prune-dl` with these arguments (default: the process's own) and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:] if argv is None else argv))


class Terminated(KeyboardInterrupt):
    """SIGTERM: whoever looks after this machine wants the process to end."""


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does. Another SIGTERM (`timeout` sends two) does not disturb the ending."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


def run(argv: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        options = parse(argv)
        from . import dispatch

        dispatch.run_command(options, command=without_places(["prune-dl", *argv]))
    except PruneError as error:
        _complain(one_line(error), error)
        return error.exit_code
    except Terminated as stop:
        _complain("terminated", stop)
        return 143
    except KeyboardInterrupt as stop:
        _complain("interrupted", stop)
        return 130
    except Exception as error:  # a bug, or no memory: the traceback ends with how to go on
        error.__notes__ = [in_flags(note) for note in getattr(error, "__notes__", ())]
        raise
    return 0


def _complain(reason: str, error: BaseException) -> None:
    """One line on stderr: the reason, and how to go on where something is kept."""
    notes = map(in_flags, getattr(error, "__notes__", ()))
    print("prune-dl: " + "; ".join((reason, *notes)), file=sys.stderr)


def parse(argv: list[str]) -> Any:
    """Options of one command line: flags over `--config` over defaults."""
    name = argv[0] if argv and argv[0] in COMMANDS else ""
    if argv and not name and not argv[0].startswith("-"):
        known = ", ".join(COMMANDS)
        raise UsageError(f"{argv[0]!r} is no command; give one of {known}, or --model FILE")
    kind = COMMANDS.get(name, Job)
    rest = argv[1:] if name else argv
    tables = _config_tables(rest)
    default = from_tables(kind, tables, tyro.MISSING) if tables else None
    check_config(tables, rest)
    prog = f"prune-dl {name}".strip()
    about = (HELP_EXAMPLES if not name else "") + (kind.__doc__ or "")
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
                if kind is Bench
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
