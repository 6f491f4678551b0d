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

NUM_RUNS = 3
"""The memory pool of ONNX Runtime has its size after the first runs."""


def peak_memory(path: Path, provider: str, threads: int, feed: Feed) -> int | None:
    """Largest resident set, bytes, of a process that runs the file on inputs like `feed`.

    None on systems without the `resource` module (Windows).

    Raises:
        InputError: the process could not run the file.
    """
    shapes = {name: (array.shape, array.dtype.name) for name, array in feed.items()}
    request = json.dumps([str(path), provider, threads, shapes])
    command = [sys.executable, "-m", __name__, request]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cause = done.stderr.strip().splitlines()[-1:]
        raise InputError(
            f"{path} cannot be run in a process of its own ({' '.join(cause)}); "
            "free some memory, or give a smaller `latency_batch`"
        )
    answer = json.loads(done.stdout)
    return None if answer is None else int(answer)


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


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))
