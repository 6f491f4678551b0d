"""Commands killed at random moments and run again end as if nothing had happened.

    PRUNE_DL_KILLS=50 pytest -m slow tests/harness/test_kills.py

kills job, train, rank and sweep in turn, by SIGKILL and then by SIGTERM (PRUNE_DL_SEED draws other
moments), then runs the same command with `--resume`, or without where that is refused; plan and
weights must be those of an uninterrupted run, byte for byte.
"""

import os
from pathlib import Path

import pytest

from harness import amount, run_harness

KILLS, SEED = amount("PRUNE_DL_KILLS", 8), amount("PRUNE_DL_SEED", 0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands run in forked children")
def test_a_killed_command_run_again_gives_the_same(tmp_path: Path) -> None:
    outcome = run_harness("kills", tmp_path, KILLS, SEED)
    assert sum(outcome["killed"].values()) >= KILLS / 2, "most moments fall into the work"
    assert not outcome["findings"], f"kept in {tmp_path}"
