"""A network as plain layers: neither compiled nor with weights that are computed from others."""

from dataclasses import dataclass

from torch import nn

from .compiled import uncompiled
from .permanent import permanent


@dataclass(frozen=True)
class Plain:
    """A network that surgery can work on, and what has to be said of how it became that."""

    model: nn.Module
    notes: tuple[str, ...] = ()


def as_plain(model: nn.Module) -> Plain:
    """The network itself if it is plain, else a part or a copy of it that is.

    Raises:
        InputError: it is not plain, and cannot be copied.
    """
    inside = uncompiled(model)
    made = permanent(inside.model)
    return Plain(made.model, (*inside.notes, *made.notes))
