"""Long tests that attack the product: mutated inputs, failing disks, kills, closed sockets.

Each is seeded and bounded; an environment variable says how much of it is done.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def amount(variable: str, default: int) -> int:
    """How many cases a harness does: its environment variable, or a modest number."""
    return int(os.environ.get(variable, default))


def run_harness(name: str, folder: Path, *arguments: object) -> dict[str, Any]:
    """Run `python -m harness.NAME FOLDER ...`; its JSON document.

    It is a process of its own, with one thread: its children are forked.
    """
    tests = str(Path(__file__).parents[1])
    paths = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", f"harness.{name}", str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome
