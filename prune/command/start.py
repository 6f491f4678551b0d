"""What `prune-dl` answers before any command: a short help, its version, what was meant."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

from ..errors import UsageError
from .trees import COMMANDS

EXAMPLES = """Examples:
  prune-dl demo                                   the whole job on handwritten digits, no download
  prune-dl --model vgg16.pt --keep 0.6            the whole job; the file names its data
  prune-dl --model vgg16.pt --data images/ --macs 0.4 --epochs 0      repair only, no training
  prune-dl --model torchvision:resnet18 --data images/ --keep 0.5 --dry-run
  prune-dl --model unet.pt --arch my_nets:unet --data pictures/ --macs 0.5    any vision network
  prune-dl train --arch vgg16 --data cifar10 --epochs 60 --out vgg16.pt
  prune-dl rank --model vgg16.pt                  what every layer and filter selects
  prune-dl sweep --model vgg16.pt --keep 0.9 0.7 0.5 0.3   which sizes are worth having
  prune-dl bench original.onnx model.onnx         latency of ONNX files, interleaved

Other commands: export, evaluate, init, doctor, completion; each has its own --help. Without a
command it is `prune-dl prune`.

"""

SHORT_HELP = """A trained checkpoint in; a smaller network, its ONNX file and a report out.

  prune-dl demo                                                see it once
  prune-dl --model net.pt --data images/ --keep 0.6 --dry-run  what would be cut
  prune-dl --model net.pt --data images/ --keep 0.6            the whole job

Commands:
{commands}

prune-dl help COMMAND shows the options of one; prune-dl --version."""


def answer(argv: Sequence[str]) -> str | None:
    """What to print where no command was given; None where one was.

    >>> answer(["train"]) is None
    True
    """
    if list(argv) in ([], ["help"]):
        return short_help()
    if list(argv) in (["--version"], ["version"]):
        return f"prune-dl {metadata.version('prune-dl')}"
    return None


def short_help() -> str:
    """Three commands to begin with, and the name of every other with what it does."""
    lines = (
        f"  {name:<10} {(tree.__doc__ or '').splitlines()[0]}" for name, tree in COMMANDS.items()
    )
    return SHORT_HELP.format(commands="\n".join(lines))


def help_asked(argv: Sequence[str]) -> list[str]:
    """`help rank` as `rank --help`; anything else as it is.

    >>> help_asked(["help", "rank"])
    ['rank', '--help']
    """
    if argv and argv[0] == "help":
        return [*argv[1:], "--help"]
    return list(argv)


def check_command(argv: Sequence[str]) -> None:
    """Raises UsageError where the first word is neither a command nor a flag."""
    if not argv or argv[0] in COMMANDS or argv[0].startswith("-"):
        return
    word = argv[0]
    near = get_close_matches(word, COMMANDS, n=1)
    if Path(word).exists():
        hint = f"did you mean `model={word}`?"
    elif near:
        hint = f"did you mean {near[0]}?"
    else:
        hint = f"give one of {', '.join(COMMANDS)}, or `model=FILE`"
    raise UsageError(f"{word!r} is no command; {hint}")
