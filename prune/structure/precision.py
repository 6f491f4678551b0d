"""The one precision that networks are worked on in: float32."""

from collections.abc import Collection

import torch
from torch import nn

from .converted import Converted
from .surgery import copied


def as_float32(model: nn.Module) -> Converted:
    """The network itself if it is of float32 throughout, else a copy that is, and a note of that.

    Raises:
        InputError: it cannot be copied.
    """
    tensors = [*model.parameters(), *model.buffers()]
    others = {x.dtype for x in tensors if x.is_floating_point()} - {torch.float32}
    if not others:
        return Converted(model)
    return Converted(copied(model).float(), (precision_note(others),))


def precision_note(dtypes: Collection[torch.dtype]) -> str:
    """What is said of a network that came in with weights of other types than float32."""
    names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
    return f"the network came in {names}; it was worked on, and is delivered, in float32"
