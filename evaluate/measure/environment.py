"""The machine and the versions that a figure was measured with, as plain strings."""

import os
import platform
from importlib import metadata
from pathlib import Path

from ...prune.options import BenchOptions

PACKAGES = ("prune-dl", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CPU_INFO = Path("/proc/cpuinfo")


def describe_environment() -> dict[str, str]:
    """Processor, cores, frequency governor (where readable), system, versions of what is installed.

    Imports none of the packages it names.
    """
    facts = {
        "cpu": _cpu_name(),
        "cores": str(available_cores()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if (governor := _read(GOVERNOR)) is not None:
        facts["governor"] = governor.strip()
    return facts | _versions()


def available_cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads(bench: BenchOptions) -> int:
    """Threads that a measurement runs with: as asked for, else one for every core."""
    return bench.threads or available_cores()


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    for line in (_read(CPU_INFO) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
