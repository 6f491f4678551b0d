"""What this machine has, and what is missing for which job."""

import importlib.util
from typing import Any

from ...evaluate.measure.environment import describe_environment

OPTIONAL = {
    "timm": "--model timm:NAME",
    "ray": "prune-dl sweep --distributed ray",
    "openvino": "the OpenVINO provider",
}


def examine() -> dict[str, Any]:
    """Facts by name, as plain values; a fact that could not be learned says so."""
    import onnxruntime
    import torch

    facts: dict[str, Any] = dict(describe_environment())
    facts["cuda"] = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device for torch"
    )
    facts["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    facts["onnxruntime providers"] = ", ".join(onnxruntime.get_available_providers())
    for package, purpose in OPTIONAL.items():
        found = importlib.util.find_spec(package) is not None
        facts[package] = "installed" if found else f"not installed (needed for {purpose})"
    return facts
