"""Table of many networks: trace, remove 40 %, prove, count, train, save, reload; beside a peer.

    python tests/benchmarks/structure_table.py --zoo torchvision --onnx --rows rows.jsonl
    python tests/benchmarks/structure_table.py --zoo timm --rows rows.jsonl
    python tests/benchmarks/structure_table.py --models timm:resnet18 --who ours
    python tests/benchmarks/structure_table.py --rows rows.jsonl --page table.md

Each network runs in processes of its own, one for prune-dl and one for Torch-Pruning, with limits
on processor time and memory (`structure_case.py` says what it does there). A row is written to
`--rows` at once; a row that is there is not run again, so that a run can be stopped and resumed, or
only with `--again`. `--page` writes the rows as tables and runs nothing.
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from structure_names import names_of
from structure_page import line_of, page, summary

CASE = Path(__file__).with_name("structure_case.py")
CLOCK = 8
"""Seconds by the clock for one of the processor's, before a network is given up: the machine may do
other things meanwhile."""
Row = dict[str, Any]
Rows = dict[str, dict[str, Row]]


def main() -> None:
    """Run every network that has no row yet; print rows, or write the page."""
    options = _parse()
    rows = _read(options.rows)
    if options.page:
        options.page.write_text(page(rows))
        return
    for spec in options.models or [x for zoo in options.zoo for x in names_of(zoo)]:
        sides = rows.setdefault(spec, {})
        missing = [who for who in options.who if options.again or who not in sides]
        for who in missing:
            sides[who] = _spawn(who, spec, options)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps({"spec": spec, "who": who, **sides[who]}) + "\n")
        if missing:
            print(line_of(spec, sides), flush=True)
    print("\n" + "\n".join(summary(rows)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    zoos = ("torchvision", "timm")
    parser.add_argument("--zoo", nargs="*", choices=zoos, default=zoos, help="whose networks")
    parser.add_argument("--models", nargs="*", default=[], help="or these: timm:NAME, ...")
    parser.add_argument("--who", nargs="*", choices=("ours", "peer"), default=("ours", "peer"))
    parser.add_argument("--again", action="store_true", help="run also what has a row")
    parser.add_argument("--size", type=int, default=96, help="pixels of the images, if allowed")
    parser.add_argument("--seconds", type=int, default=300, help="of the processor, for prune-dl")
    parser.add_argument("--peer-seconds", type=int, default=60, help="the same, Torch-Pruning")
    parser.add_argument("--gib", type=float, default=16.0, help="memory of a process")
    parser.add_argument("--onnx", action="store_true", help="export and compare, too")
    parser.add_argument("--rows", type=Path, help="keep the rows here, one JSON object a line")
    parser.add_argument("--page", type=Path, help="write the rows as Markdown tables, run nothing")
    return parser.parse_args()


def _read(path: Path | None) -> Rows:
    """Rows of an earlier run by network and side; the last one counts."""
    rows: Rows = {}
    if path is not None and path.exists():
        for row in map(json.loads, path.read_text().splitlines()):
            rows.setdefault(row.pop("spec"), {})[row.pop("who")] = row
    return rows


def _spawn(who: str, spec: str, options: argparse.Namespace) -> Row:
    seconds = options.seconds if who == "ours" else options.peer_seconds
    command = [sys.executable, str(CASE), who, spec, "--size", str(options.size)]
    command += ["--seconds", str(seconds), "--gib", str(options.gib)]
    command += ["--onnx"] if options.onnx else []
    late = {"outcome": "timeout", "message": f"not done in {seconds} s"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLOCK * seconds)
    except subprocess.TimeoutExpired:
        return late
    if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):
        return late
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"outcome": "crash", "message": last[:300]}
    result: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
