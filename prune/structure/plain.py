"""A network as plain layers: neither compiled nor with weights that are computed from others."""

from torch import nn

from .compiled import uncompiled
from .converted import Converted
from .permanent import permanent


def as_plain(model: nn.Module) -> Converted:
    """The network itself if it is plain, else a part or a copy of it that is.

    Raises:
        InputError: it is not plain, and cannot be copied.
    """
    inside = uncompiled(model)
    made = permanent(inside.model)
    return Converted(made.model, (*inside.notes, *made.notes))
