"""What the machine has."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def memory_bytes(device: "torch.device | None" = None) -> int | None:
    """Memory of a CUDA device, else of the machine; None where the system does not tell."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[1])
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
