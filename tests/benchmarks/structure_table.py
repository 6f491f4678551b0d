"""Table of all torchvision classifiers: trace, remove 40 %, prove, train, save, reload, export.

    python tests/benchmarks/structure_table.py --rows rows.jsonl    all models, the smallest first
    python tests/benchmarks/structure_table.py --models resnet18 vit_b_16 --no-onnx --no-peer
    python tests/benchmarks/structure_table.py --rows rows.jsonl --page docs/structure_table.md

Each network runs in a process of its own (`structure_case.py` says what it does there) with a time
limit. Its row is written to `--rows` at once; a row that is there is not run again. `--page` writes
the rows as a table and runs nothing.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

CASE = Path(__file__).with_name("structure_case.py")
Row = dict[str, Any]
COLUMNS = (
    ("layers", "layers", "{:d}"),
    ("whole", "whole", "{:d}"),
    ("macs_left", "MACs left", "{:.0%}"),
    ("check", "check", "{}"),
    ("error", "error", "{:.0e}"),
    ("onnx_error", "ONNX", "{:.0e}"),
    ("forward_s", "forward s", "{:.2f}"),
    ("trace_s", "trace s", "{:.2f}"),
    ("budget", "of its limit", "{:.0%}"),
    ("forward_mib", "forward MiB", "{:.0f}"),
    ("trace_mib", "trace MiB", "{:.0f}"),
)


def main() -> None:
    """Run every network that has no row yet; print rows, or write the page."""
    options = _parse()
    rows = _read(options.rows)
    if options.page:
        options.page.write_text(page(list(rows.values())))
        return
    for name in options.models or _all_names():
        if name not in rows:
            rows[name] = _row(name, options)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[name]) + "\n")
    print("\n" + summary(list(rows.values())))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="*", default=[], help="names; default: all torchvision")
    parser.add_argument("--size", type=int, default=224, help="pixels of the images, if allowed")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each network")
    parser.add_argument("--peer-timeout", type=float, default=60.0, help="the same, Torch-Pruning")
    parser.add_argument("--no-onnx", action="store_true", help="leave out the ONNX export")
    parser.add_argument("--no-peer", action="store_true", help="leave out Torch-Pruning")
    parser.add_argument("--rows", type=Path, help="keep the rows here, one JSON object a line")
    parser.add_argument("--page", type=Path, help="write the rows as a Markdown table, run nothing")
    return parser.parse_args()


def _all_names() -> list[str]:
    """All classifiers, the smallest first."""
    from torchvision import models

    def size(name: str) -> int:
        return int(next(iter(models.get_model_weights(name))).meta["num_params"])

    return sorted(models.list_models(module=models), key=size)


def _read(path: Path | None) -> dict[str, Row]:
    """Rows of an earlier run by name; the last one counts."""
    if path is None or not path.exists():
        return {}
    return {row["name"]: row for row in map(json.loads, path.read_text().splitlines())}


def _row(name: str, options: argparse.Namespace) -> Row:
    ours = _spawn("ours", name, options, options.timeout)
    skipped = {"outcome": "not run"}
    peer = skipped if options.no_peer else _spawn("peer", name, options, options.peer_timeout)
    row = {"name": name, "ours": ours, "peer": peer}
    print(_line(row), flush=True)
    return row


def _line(row: Row) -> str:
    """One row of the table."""
    ours, peer = row["ours"], row["peer"]
    cells = [
        form.format(ours[key]) if ours.get(key) is not None else "-" for key, _, form in COLUMNS
    ]
    theirs = peer["outcome"] + (f" {peer['seconds']:.2f} s" if "seconds" in peer else "")
    outcome = ours["outcome"] if ours["outcome"] == "ok" else f"**{ours['message'][:60]}**"
    return "| " + " | ".join([row["name"], outcome, *cells, theirs]) + " |"


def summary(rows: list[Row]) -> str:
    """How many of the networks got through, were proven exact, and were traced in time."""
    done = [row["ours"] for row in rows if row["ours"]["outcome"] == "ok"]
    exact = sum(x["check"] == "exact" for x in done)
    in_time = sum(x["budget"] <= 1 for x in done)
    exported = sum(x.get("onnx_error") is not None for x in done)
    peers = [row["peer"] for row in rows if row["peer"]["outcome"] != "not run"]
    pruned = sum(x["outcome"] == "ok" for x in peers)
    return (
        f"prune-dl: {len(done)} of {len(rows)} traced, cut, trained a step, saved, reloaded and "
        f"run; {exact} proven exact, {len(done) - exact} with norms that mix channels; {exported} "
        f"equal in ONNX Runtime; {in_time} of {len(done)} traced within 2 forward passes + 1 s. "
        f"Torch-Pruning: {pruned} of {len(peers)}."
    )


def page(rows: list[Row]) -> str:
    """The table, what stays whole with its reason, and where Torch-Pruning fails."""
    titles = ["network", "outcome", *(title for _, title, _ in COLUMNS), "Torch-Pruning"]
    lines = [summary(rows), "", "| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    lines += [_line(row) for row in sorted(rows, key=lambda row: row["name"])]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for reason in row["ours"].get("kept_whole", {}).values():
            reasons.setdefault(_general(reason), []).append(row["name"])
    lines += ["", "What stays whole, and why:", ""]
    for reason, names in sorted(reasons.items(), key=lambda item: -len(set(item[1]))):
        unique = sorted(set(names))
        shown = ", ".join(unique[:6]) + (", ..." if len(unique) > 6 else "")
        lines.append(f"- {reason}: {len(names)} layers of {len(unique)} networks ({shown})")
    lines += ["", "Where Torch-Pruning fails:", ""]
    failed = [row for row in rows if row["peer"]["outcome"] not in ("ok", "not run")]
    for row in sorted(failed, key=lambda row: row["name"]):
        peer = row["peer"]
        lines.append(f"- {row['name']}: {peer['outcome']} {peer.get('message', '')}".rstrip())
    return "\n".join(lines) + "\n"


def _general(reason: str) -> str:
    """A reason without the place it was found at."""
    return re.sub(r"\(.*?\)", "", re.sub(r"^\d+ of \d+ filters: ", "", reason)).replace("  ", " ")


def _spawn(child: str, name: str, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    command = [sys.executable, str(CASE), child, name, "--size", str(options.size)]
    command += ["--no-onnx"] if options.no_onnx else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"outcome": "timeout", "message": f"not done in {limit:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"outcome": "crash", "message": last[:300]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
