"""A forward pass in float64, also of code that makes float32 tensors of its own."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


class InDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation takes float64 where the code hands it float32: ramps, masks, casts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; one that writes in place gets the tensor that it writes to."""
        kwargs = kwargs or {}
        if not func._schema.is_mutable:
            args, kwargs = tree_map(_doubled, args), tree_map(_doubled, kwargs)
        return tree_map(_doubled, func(*args, **kwargs)) if _makes(func) else func(*args, **kwargs)


def _makes(func: Any) -> bool:
    """Whether the results are new tensors: neither views nor written in place."""
    return not func._schema.is_mutable and not func.is_view


def _doubled(value: Any) -> Any:
    if value is torch.float32:
        return torch.float64
    return value.double() if isinstance(value, Tensor) and value.dtype == torch.float32 else value
