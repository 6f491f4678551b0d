"""The rows of the structure table as text: a line a network, counts, and a Markdown page."""

import re
from statistics import median
from typing import Any

Row = dict[str, Any]
Sides = dict[str, Row]
Rows = dict[str, Sides]
NOT_RUN: Row = {"outcome": "not run"}
COLUMNS = (
    ("layers", "layers", "{:d}"),
    ("whole", "whole", "{:d}"),
    ("check", "check", "{}"),
    ("error", "error", "{:.0e}"),
    ("counted_right", "counted right", "{}"),
    ("onnx_error", "ONNX", "{:.0e}"),
    ("macs_left", "MACs left", "{:.0%}"),
    ("params_left", "parameters left", "{:.0%}"),
    ("forward_s", "forward s", "{:.2f}"),
    ("trace_s", "trace s", "{:.2f}"),
    ("budget", "of its limit", "{:.0%}"),
    ("shrink_s", "shrink s", "{:.2f}"),
    ("forward_mib", "forward MiB", "{:.0f}"),
    ("trace_mib", "trace MiB", "{:.0f}"),
)


def line_of(spec: str, sides: Sides) -> str:
    """One row of the table."""
    ours, peer = sides.get("ours", NOT_RUN), sides.get("peer", NOT_RUN)
    cells = [_cell(ours.get(key), form) for key, _, form in COLUMNS]
    left = f" {peer['params_left']:.0%}" if "params_left" in peer else ""
    theirs = peer["outcome"] + left + (f" {peer['seconds']:.2f} s" if "seconds" in peer else "")
    failed = f"**{ours['outcome']}: {ours.get('message', '')[:60]}**"
    outcome = ours["outcome"] if ours["outcome"] in ("ok", "not run") else failed
    return "| " + " | ".join([spec.partition(":")[2], outcome, *cells, theirs]) + " |"


def _cell(value: Any, form: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return "-" if value is None else form.format(value)


def summary(rows: Rows) -> list[str]:
    """A line a zoo: how many networks got through, and what is left of them."""
    return [
        line
        for zoo in ("torchvision", "timm")
        for line in _summary(zoo, [x for spec, x in rows.items() if spec.startswith(f"{zoo}:")])
    ]


def _summary(zoo: str, rows: list[Sides]) -> list[str]:
    run = [x["ours"] for x in rows if "ours" in x]
    done = [x for x in run if "params_left" in x]
    shares = [x["params_left"] for x in done]
    peers = [x["peer"] for x in rows if "peer" in x]
    pruned = [x for x in peers if x["outcome"] == "ok"]
    both = [x for x in rows if "params_left" in x.get("ours", {}) and _pruned(x)]
    lines = []
    if done:
        exact = sum(x["check"] == "exact" for x in done)
        ok = sum(x["outcome"] == "ok" for x in run)
        lines.append(
            f"{zoo}, prune-dl: {len(done)} of {len(run)} run when they are smaller, {ok} of them "
            f"also train, save and reload; {exact} proven exact, {len(done) - exact} with norms "
            f"that mix channels; {sum(x.get('counted_right', False) for x in done)} counted "
            f"right; {sum(x['budget'] <= 1 for x in done)} traced within 2 forward passes + 1 s; "
            f"{sum(len(x['unexplained']) for x in done)} layers unexplained. Parameters left: "
            f"median {median(shares):.0%}, {sum(x > 0.6 for x in shares)} above 60 %."
        )
    if peers:
        theirs = median([x["params_left"] for x in pruned]) if pruned else 1.0
        lines.append(
            f"{zoo}, Torch-Pruning: {len(pruned)} of {len(peers)} run when they are smaller; "
            f"parameters left: median {theirs:.0%}"
            + (f" (prune-dl on the same networks: {_median(both):.0%})." if both else ".")
        )
    return lines


def _pruned(sides: Sides) -> bool:
    return sides.get("peer", NOT_RUN)["outcome"] == "ok"


def _median(rows: list[Sides]) -> float:
    return median(x["ours"]["params_left"] for x in rows)


def page(rows: Rows) -> str:
    """Tables, what stays whole with its reason, and where either tool fails."""
    lines = [line for text in summary(rows) for line in (text, "")]
    titles = ["network", "outcome", *(title for _, title, _ in COLUMNS), "Torch-Pruning"]
    for zoo in ("torchvision", "timm"):
        own = sorted(spec for spec in rows if spec.startswith(f"{zoo}:"))
        if own:
            lines += [
                f"### {zoo}",
                "",
                "| " + " | ".join(titles) + " |",
                "|---" * len(titles) + "|",
            ]
            lines += [*(line_of(spec, rows[spec]) for spec in own), ""]
    lines += ["What stays whole, and why:", "", *_reasons(rows)]
    for who, name in (("ours", "prune-dl"), ("peer", "Torch-Pruning")):
        lines += ["", f"Where {name} fails:", "", *_failures(rows, who)]
    return "\n".join(lines) + "\n"


def _reasons(rows: Rows) -> list[str]:
    """Reasons of whole layers, the most frequent first."""
    found: dict[str, list[str]] = {}
    for spec, sides in rows.items():
        for reason in sides.get("ours", {}).get("kept_whole", {}).values():
            found.setdefault(_general(reason), []).append(spec.partition(":")[2])
    lines = []
    for reason, names in sorted(found.items(), key=lambda item: -len(set(item[1]))):
        unique = sorted(set(names))
        shown = ", ".join(unique[:6]) + (", ..." if len(unique) > 6 else "")
        lines.append(f"- {reason}: {len(names)} layers of {len(unique)} networks ({shown})")
    return lines


def _failures(rows: Rows, who: str) -> list[str]:
    """Networks on which a side did not get through."""
    failed = {spec: x[who] for spec, x in rows.items() if who in x and x[who]["outcome"] != "ok"}
    return [
        f"- {x}: {y['outcome']} {y.get('message', '')}".rstrip() for x, y in sorted(failed.items())
    ]


def _general(reason: str) -> str:
    """A reason without the place it was found at."""
    return re.sub(r"\(.*?\)", "", re.sub(r"^\d+ of \d+ filters: ", "", reason)).replace("  ", " ")
