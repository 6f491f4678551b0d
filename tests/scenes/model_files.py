"""Files of small networks, and what stands in them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from prune_dl.prune.inputs.origin import Origin
from safetensors import safe_open
from torch import Tensor

ARCH = "vgg6:width=0.03,in_channels=1"


def small_origin(**changes: Any) -> Origin:
    return Origin(ARCH, 10, "digits", tuple("0123456789"), (1, 16, 16), (0.5,), (0.5,), **changes)


def as_tensor(value: Any) -> Tensor:
    try:
        return torch.from_numpy(np.array(value, dtype=np.int64))
    except (TypeError, ValueError, OverflowError):
        return torch.zeros(2, 2, dtype=torch.float16)


def read_all(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
