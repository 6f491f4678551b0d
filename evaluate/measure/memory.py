"""Peak memory of a file: a fresh process opens it, runs it three times and prints its maximum.

The process imports ONNX Runtime and numpy and nothing else of size, so the figure is what a
deployment needs: some 50 MB for Python and the runtime, and the rest for the network.
"""

import json
import subprocess
import sys
from pathlib import Path

from ...prune.errors import InputError
from .feeds import Feed

MAX_SECONDS = 600
"""Longest that the process may take for opening the file and its runs: the benchmark has just run
the same file a hundred times, so something is wrong with a process that is not done by then."""
NUM_RUNS = 3
"""The memory pool of ONNX Runtime has its size after the first runs."""


def peak_memory(path: Path, provider: str, threads: int, feed: Feed) -> int | None:
    """Largest resident set, bytes, of a process that runs the file on inputs like `feed`.

    None on systems without the `resource` module (Windows).

    Raises:
        InputError: the process could not run the file, or not in time.
    """
    shapes = {name: (array.shape, array.dtype.name) for name, array in feed.items()}
    request = json.dumps([str(path), provider, threads, shapes])
    command = [sys.executable, *ISOLATED, "-c", _START, json.dumps(_import_places()), request]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MAX_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path} was not run {NUM_RUNS} times within {MAX_SECONDS:g} seconds in a process of "
            "its own; give a smaller `latency_batch`, or free the machine"
        ) from error
    if done.returncode != 0:
        cause = done.stderr.strip().splitlines()[-1:]
        raise InputError(
            f"{path} cannot be run in a process of its own ({' '.join(cause)}); "
            "free some memory, or give a smaller `latency_batch`"
        )
    answer = json.loads(done.stdout)
    return None if answer is None else int(answer)


ISOLATED = ("-E", "-P")
"""Options of Python: no module of the working folder or of PYTHONPATH is imported at the start."""
_PRODUCT = __name__.partition(".")[0]
_START = f"""
import json, sys
places = json.loads(sys.argv[1])
sys.path[:] = places + [place for place in sys.path if place not in places]
from {__name__} import print_peak
print_peak(sys.argv[2])
"""


def _import_places() -> list[str]:
    """Where this process imports from, but for the working folder, where anything may lie.

    That folder comes last where this very product is in it.
    """
    here = Path.cwd().resolve()
    places = [place for place in sys.path if place and Path(place).exists()]
    elsewhere = [str(Path(place).absolute()) for place in places if Path(place).resolve() != here]
    is_needed = any(Path(place).resolve() == here for place in places) and any(
        Path(folder).resolve().parent == here for folder in sys.modules[_PRODUCT].__path__
    )
    return elsewhere + ([str(here)] if is_needed else [])


def print_peak(request: str) -> None:
    """What the process does: measure itself, and print bytes as JSON."""
    print(json.dumps(_measure(request)))


def _measure(request: str) -> int | None:
    try:
        import resource
    except ImportError:
        return None
    import numpy as np

    from ...export.session import open_session

    path, provider, threads, shapes = json.loads(request)
    session = open_session(Path(path), provider, threads)
    feed = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    for _ in range(NUM_RUNS):
        session.run(None, feed)
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss is inherited from the parent process; this is not
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
