"""prune-dl: a trained image classifier in; a smaller network, its ONNX file and a report out.

    shrink    remove filters by their weights alone: no data
    rank      what each layer and filter of a network selects
    compress  the whole job on your own network and data loaders
    load      rebuild a network that this tool saved
    remap_optimizer    carry an optimizer's state over to a smaller network
    __version__        of the installed package
    PruneError, UsageError, InputError, GateError     all that can go wrong by your doing

Names are imported when they are used, so that the command line can answer without torch.
"""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .errors import GateError, InputError, PruneError, UsageError

if TYPE_CHECKING:
    from .api import Compressed, Shrunk, compress, load, rank, remap_optimizer, shrink

__all__ = [
    "Compressed",
    "GateError",
    "InputError",
    "PruneError",
    "Shrunk",
    "UsageError",
    "compress",
    "load",
    "rank",
    "remap_optimizer",
    "shrink",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(".api", __name__), name)
    if name == "__version__":
        return metadata.version("prune-dl")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
