"""Image classifiers of the transformers library, built from their config.json without its weights.

The library is no dependency: it is imported where such a folder is given. Code that a folder brings
along is never run.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import InputError, first_line
from ..machine import memory_bytes
from .construction import Construction

REFUSED = ("auto_map", "backbone", "backbone_config", "quantization_config")
"""Keys that lead to code or to weights from elsewhere."""


def build_transformers(config: Mapping[str, Any], source: str) -> nn.Module:
    """A classifier with random weights, in evaluation mode.

    Args:
        config: a folder's config.json. source: that file, for messages.

    Raises:
        InputError: the library is missing, does not know the network, or would need more than the
            folder for it.
    """
    found = [key for key in REFUSED if config.get(key)]
    if found:
        raise InputError(
            f"{source} builds its network with {found[0]}, which names code or weights from "
            "elsewhere; give the weights with `arch=package.module:callable`"
        )
    try:
        library: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            f"{source} is of a network of the transformers library; install it with "
            "pip install transformers, or give `arch=package.module:callable`"
        ) from error
    kind = str(config.get("model_type"))
    try:
        plain = {key: value for key, value in config.items() if key != "model_type"}
        with Construction(kind[:200], memory_bytes(), on_meta=False):
            stated = library.AutoConfig.for_model(kind, **plain)
            network: nn.Module = library.AutoModelForImageClassification.from_config(
                stated, trust_remote_code=False
            )
    except InputError:
        raise
    except Exception as error:
        # The library raises whatever a strange configuration leads it to.
        raise InputError(
            f"{source} builds no image classifier with this release of transformers "
            f"({kind[:60]}: {first_line(error)[:120]}); update it, or give "
            "`arch=package.module:callable`"
        ) from error
    return network.float().eval()
