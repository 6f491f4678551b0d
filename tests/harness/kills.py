"""Kill commands at random moments, run them again as a user would, and compare the results.

    python -m harness.kills FOLDER KILLS SEED

prints one JSON document: {"killed": {command: times}, "seconds": {command: uninterrupted},
"findings": [[command, moment, what], ..]}.
"""

import json
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

from .runs import COMMANDS, differences, prepare, run_forked

SIGNALS = (signal.SIGKILL, signal.SIGTERM)


def again(command: str, folder: Path) -> str:
    """What a user does next: the same with --resume, else without. Empty when that works."""
    argv = COMMANDS[command]
    resumed = run_forked((*argv, "--resume"), folder)
    if resumed.code == 0:
        return ""
    if "Traceback" in resumed.error or resumed.code not in (2, 3):
        return f"--resume: exit {resumed.code}: {resumed.error.strip()[-300:]}"
    plain = run_forked(argv, folder)
    return "" if plain.code == 0 else f"again: exit {plain.code}: {plain.error.strip()[-300:]}"


def main(home: str, kills: str, seed: str) -> None:
    root, draw = Path(home).absolute(), random.Random(int(seed))
    seconds, killed = {}, Counter[str]()
    findings: list[tuple[str, str, str]] = []
    for command, argv in COMMANDS.items():
        reference = root / f"{command}-reference"
        prepare(reference)
        whole = run_forked(argv, reference)
        if whole.code != 0:
            raise RuntimeError(f"{command} by itself: {whole.error[-2000:]}")
        seconds[command] = round(whole.seconds, 2)
    for number in range(int(kills)):
        command = list(COMMANDS)[number % len(COMMANDS)]
        folder = root / f"{command}-{number}"
        prepare(folder)
        moment = draw.uniform(0, seconds[command])
        kind = SIGNALS[number // len(COMMANDS) % len(SIGNALS)]
        if not run_forked(COMMANDS[command], folder, kill_after=moment, kill_with=kind).code:
            continue  # it was faster than the reference, and is done
        killed[command] += 1
        problem = again(command, folder)
        what = [problem] if problem else differences(command, root / f"{command}-reference", folder)
        share = f"{kind.name} at {moment:.2f} of {seconds[command]} s"
        findings += [(command, share, text) for text in what]
        if not what:
            shutil.rmtree(folder)
    json.dump({"killed": killed, "seconds": seconds, "findings": findings}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
