"""Lines on stderr: what a command says while it works, and the file that keeps a copy.

Everything that is said goes to the logger `prune_dl`. The command line gives it a handler for
stderr, and one for the file of `log`; without handlers a line goes to stderr where it was asked
for, so that the Python API is quiet and a program's own logging hears all of it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from .errors import InputError

stderr = Console(stderr=True)
logger = logging.getLogger("prune_dl")


def say(line: str, *, show: bool = True) -> None:
    """Say one line.

    Args:
        show: on stderr, where nobody has given the logger a handler.
    """
    logger.info(line)
    if show and not logger.handlers:
        write_line(line)


def write_line(line: str) -> None:
    """A line on stderr, beside bars: a terminal gets it broken between words, a file whole."""
    stderr.print(line, markup=False, highlight=False, emoji=False, soft_wrap=not stderr.is_terminal)


class _Stderr(logging.Handler):
    """Writes what a logger is told to stderr as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(record.getMessage())


@contextmanager
def listening(
    *, quiet: bool = False, verbose: bool = False, file: Path | None = None
) -> Iterator[None]:
    """While the block runs, what is said goes to stderr, and to a file.

    Args:
        quiet: nothing on stderr. verbose: details too. file: gets everything, with the time.

    Raises:
        InputError: the file cannot be written.
    """
    console = _Stderr(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    handlers: list[logging.Handler] = [console]
    if file is not None:
        handlers.append(_log_file(file))
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    except BaseException as error:
        logger.debug("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.level, logger.propagate = before


def _log_file(file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"`log={file}` cannot be written ({error.strerror}); give another place"
        ) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds above two minutes, or hours and minutes above two hours.

    >>> duration(9.87), duration(146), duration(7500)
    ('9.9 s', '2 min 26 s', '2 h 5 min')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{minutes // 60} h {minutes % 60} min"
