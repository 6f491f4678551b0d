"""Files that are read as text or JSON, mutated by atheris in the direction of code not yet reached.

    PRUNE_DL_GUIDED_SECONDS=300 pytest -m slow tests/harness/test_guided.py

atheris is no dependency (`pip install atheris`): without it these tests are skipped, and say so.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import amount

SECONDS = amount("PRUNE_DL_GUIDED_SECONDS", 20)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plan", "point", "options", "run-json", "spectrum", "model"])
def test_a_guided_mutant_ends_in_one_line_or_opens(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "harness.guided", str(tmp_path), kind, str(SECONDS)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        timeout=SECONDS + 300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
