"""Which device computes, and in which precision. A device that is missing is an error."""

import contextlib
from typing import Any

import torch
from torch import nn

from ..errors import UsageError

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: the name is unknown, or the machine has no such device.
    """
    kind = name.partition(":")[0]
    if kind not in DEVICE_NAMES:
        expected = ", ".join(DEVICE_NAMES)
        raise UsageError(f"`device={name}` given; expected one of {expected}, or cuda:1, ...")
    if name == "auto":
        kind = name = next(k for k in ("cuda", "mps", "cpu") if _num_devices(k))
    if _device_number(name) >= _num_devices(kind):
        raise UsageError(
            f"`device={name}` given; torch finds no such device on this machine; use `device=auto`"
        )
    return torch.device(name)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 pays: CUDA from Ampere on, CPUs with AMX or AVX512-BF16 instructions.

    Elsewhere the type is emulated, and many times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        supported = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(supported.get("amx_bf16") or supported.get("avx512_bf16"))
    return False


def autocast(device: torch.device, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 autocast where it makes this network faster, else nothing.

    On CPUs depthwise convolutions are slower in bfloat16 than in float32, and their networks, too
    (tests/benchmarks/training_precision.py).
    """
    slower = device.type == "cpu" and any(map(_is_depthwise, model.modules()))
    if has_fast_bfloat16(device) and not slower:
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def _num_devices(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return 1


def _device_number(name: str) -> int:
    number = name.partition(":")[2] or "0"
    if not number.isdigit():
        raise UsageError(f"`device={name}` given; expected a number after the colon, as in cuda:1")
    return int(number)
