"""The memory that a network's constructor asks for: counted before it is taken, or not taken."""

from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..errors import InputError

FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)
"""What constructors make parameters and buffers with."""
LARGE = 2**20
"""Elements above which a tensor on which a constructor would compute is a parameter or buffer."""


class Construction(TorchFunctionMode):
    """Counts what constructors allocate in its block, and refuses what is too much.

    Args:
        name: of the network, for the message.
        limit: most bytes in all; None for any number.
        on_meta: parameters go to the meta device and cost nothing; small tensors that constructors
            compute with stay real.

    Raises:
        InputError: in the block, before the allocation that is too much.
    """

    def __init__(self, name: str, limit: int | None, *, on_meta: bool) -> None:
        super().__init__()
        self.name, self.limit, self.on_meta = name, limit, on_meta
        self.num_bytes = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count what a factory makes; every other function runs as it is."""
        kwargs = dict(kwargs or {})
        if func in FACTORIES:
            elements = _num_elements(args, kwargs)
            self._count(elements, kwargs.get("dtype") or torch.get_default_dtype())
            if self.on_meta and (func is torch.empty or elements > LARGE):
                kwargs["device"] = "meta"
        return func(*args, **kwargs)

    def _count(self, elements: int, dtype: torch.dtype) -> None:
        self.num_bytes += elements * dtype.itemsize
        if self.limit is not None and self.num_bytes > self.limit:
            raise InputError(
                f"architecture {self.name!r} given, whose weights take more than "
                f"{self.limit / 1e9:.0f} GB; expected one that fits into this machine's memory; "
                "give a smaller one, or fewer labels"
            )


def _num_elements(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Elements of a tensor of the sizes that a factory was called with; exact at any size."""
    first = kwargs.get("size", args[0] if args else ())
    sizes = first if isinstance(first, tuple | list) else args
    return prod(int(size) for size in sizes if isinstance(size, int))
