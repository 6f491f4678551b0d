"""What a network in an unusual form becomes before it is worked on."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Converted:
    """A network in the form that is worked on, and what has to be said of how it became that.

    Attributes:
        model: the network that came in where it has that form already.
        notes: empty for that one.
    """

    model: nn.Module
    notes: tuple[str, ...] = ()
