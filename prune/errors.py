"""Every error a user can cause, and the exit code that it ends with.

PruneError                     exit code
├── UsageError                 2   a flag or an argument is wrong
├── InputError                 3   a file, a data set or a network cannot be used
└── GateError                  4   a stated budget or quality gate was missed

A message is one line: what was given; what was expected; what to do. It is worded where it is
raised, in the words of the library: an option stands in backquotes under its Python name, `keep`,
or with its value, `keep=1.5`. The command line alone knows flags, and translates such words once
(`command/flags.py`): --keep, --keep 1.5. Warnings and notes are worded in the same way.

Anything else that escapes is a bug (exit code 1).
"""

OTHER_SIZE = "images of another size"
FED_AS_TRAINED = "images fed as in its training"
OWN_ARCHITECTURE = "a fresh network of the architecture that the file was made from"
"""What to give, where the command line has flags for it and a function of Python has not."""


class PruneError(Exception):
    r"""Base of every error that a user can cause; `exit_code` is what the command ends with.

    Its message is one line, even where it quotes a stranger's file.

    Examples:
        >>> str(PruneError("layer a\nb given"))
        'layer a b given'
    """

    exit_code = 1

    def __str__(self) -> str:
        """The message."""
        return on_one_line(super().__str__())


class UsageError(PruneError, ValueError):
    """A flag or an argument is wrong.

    Examples:
        >>> issubclass(UsageError, PruneError), UsageError.exit_code
        (True, 2)
    """

    exit_code = 2


class InputError(PruneError, ValueError):
    """A file, a data set or a network cannot be used.

    Examples:
        >>> issubclass(InputError, PruneError), InputError.exit_code
        (True, 3)
    """

    exit_code = 3


class GateError(PruneError):
    """A stated budget or quality gate was missed.

    Examples:
        >>> issubclass(GateError, PruneError), GateError.exit_code
        (True, 4)
    """

    exit_code = 4


def on_one_line(text: str) -> str:
    r"""A text without line breaks; what would steer a terminal is shown as a question mark.

    >>> on_one_line("layer a\nb\x1b[2J given")
    'layer a b?[2J given'
    """
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in line)


def first_line(error: BaseException) -> str:
    r"""What another library raised, on one line; the name of its class if it holds no words.

    >>> first_line(RuntimeError("sizes do not fit\nat layer 3"))
    'sizes do not fit'
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
