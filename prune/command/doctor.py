"""What this machine has, what is missing for which job, and what has to be mended."""

import importlib.util
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from ...evaluate.measure.environment import describe_environment
from ...export.session import NEED_CUDA, PROVIDERS, use_once
from ..errors import UsageError, first_line, on_one_line

OPTIONAL = {
    "timm": "--model timm:NAME",
    "ray": "prune-dl sweep --distributed ray",
    "lightning": "PruneCallback",
    "tensorboard": "--track tensorboard",
    "mlflow": "--track mlflow",
    "openvino": "the OpenVINO provider",
}
WORKS = "works"
PROBLEMS = "problems"
"""Key of what has to be mended, in the document of `--json`."""
DRIVER = Path("/proc/driver/nvidia/version")
"""There where the system has NVIDIA's driver."""


def examine() -> dict[str, Any]:
    """Facts by name, as plain values; a fact that could not be learned says so.

    CUDA and every provider of ONNX Runtime are used once. The last fact is the list of problems:
    what is wrong, and how to mend it, a line each.
    """
    import onnxruntime
    import torch

    facts: dict[str, Any] = dict(describe_environment())
    facts["cuda"] = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device for torch"
    )
    facts["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    installed = onnxruntime.get_available_providers()
    facts["onnxruntime providers"] = ", ".join(installed)
    facts |= {
        f"provider {name}": try_provider(name, has_cuda=torch.cuda.is_available())
        for name, full in PROVIDERS.items()
        if full in installed
    }
    for package, purpose in OPTIONAL.items():
        found = importlib.util.find_spec(package) is not None
        facts[package] = "installed" if found else f"not installed (needed for {purpose})"
    found_problems = machine_problems(
        facts,
        has_cuda=torch.cuda.is_available(),
        has_driver=DRIVER.exists(),
        built_for_cuda=torch.version.cuda is not None,
    )
    return {**facts, PROBLEMS: [*found_problems, *_cuda_problems(), *_version_problems()]}


def try_provider(name: str, *, has_cuda: bool) -> str:
    """ "works", or why it does not."""
    try:
        use_once(name)
    except UsageError as error:
        if name in NEED_CUDA and not has_cuda:
            return "does not work: no CUDA device"
        _, reason, *_ = on_one_line(str(error)).split("; ")
        return f"does not work: {reason}"
    return WORKS


def machine_problems(
    facts: dict[str, Any], *, has_cuda: bool, has_driver: bool, built_for_cuda: bool
) -> Iterator[str]:
    """What is wrong on this machine, and how to mend it.

    A provider that needs CUDA is no problem where torch has no CUDA device.

    Args:
        facts: of `examine`.
    """
    if {"onnxruntime", "onnxruntime-gpu"} <= facts.keys():
        yield (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu"
        )
    if has_driver and not has_cuda:
        why = "cannot use it: update NVIDIA's driver" if built_for_cuda else "is built without CUDA"
        yield f"there is an NVIDIA driver, but torch {why}; see pytorch.org for the right wheel"
    for name in PROVIDERS:
        state = facts.get(f"provider {name}", WORKS)
        if state == WORKS or (name in NEED_CUDA and not has_cuda):
            continue
        mend = "install ONNX Runtime again"
        if name in NEED_CUDA:
            mend = (
                'pip install "onnxruntime-gpu[cuda,cudnn]", of the same major version of CUDA '
                "as torch"
            )
        if name == "tensorrt":
            mend = "install TensorRT's libraries, or do without --provider tensorrt"
        yield f"provider {name} {state}; {mend}"


def _cuda_problems() -> Iterator[str]:
    """Multiply once where torch says that there is CUDA."""
    import torch

    if not torch.cuda.is_available():
        return
    try:
        torch.ones(8, 8, device="cuda").mm(torch.ones(8, 8, device="cuda")).sum().item()
    except RuntimeError as error:
        yield f"torch sees a CUDA device and cannot use it ({first_line(error)}); update the driver"


def _version_problems() -> Iterator[str]:
    """Packages that are older or newer than what this one was made for."""
    for text in metadata.requires("prune-dl") or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} is missing: pip install '{wanted.name}{wanted.specifier}'"
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield (
                f"{wanted.name} {found} is installed, {wanted.specifier} is needed: "
                f"pip install '{wanted.name}{wanted.specifier}'"
            )


def verdict(facts: dict[str, Any]) -> list[str]:
    """The last lines for people: ready or not, and what to mend.

    Args:
        facts: of `examine`.
    """
    found = facts[PROBLEMS]
    if found:
        things = "1 thing" if len(found) == 1 else f"{len(found)} things"
        return [f"verdict: {things} to mend", *(f"  - {problem}" for problem in found)]
    works = [name for name in PROVIDERS if facts.get(f"provider {name}") == WORKS]
    device = "on the CPU" if facts["cuda"].startswith("no CUDA") else f"on {facts['cuda']} too"
    return [f"verdict: ready, {device}; latency can be measured on {', '.join(works)}"]
