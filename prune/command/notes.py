"""Notes of a report as a terminal shows them: what matters first, like ones in a line.

The page and report.json have all of them, as they were found.
"""

import re
from collections.abc import Sequence

GRAVE = re.compile(
    "certificate|retraining was (dropped|judged)|repair was dropped|not measurably faster|noisy"
    "|nobody says|is a guess|do not tell surely|chance|contradict|Latency was not measured",
    re.IGNORECASE,
)
"""Of notes that change how the figures have to be read."""
DETAIL = re.compile(r"rows for each input|ridge was raised|stays whole", re.IGNORECASE)
"""Of notes for who wants to know more."""
LAYER = re.compile(r"(not refitted|not repaired): ([^:]+): .*held-out images would", re.IGNORECASE)
"""Of notes on a layer that held-out images were against."""
FEW = 3
"""Layers that a note still names."""


def ranked_notes(notes: Sequence[str]) -> list[str]:
    """The notes, grave ones first and details last, with those on single layers made one.

    >>> ranked_notes(["Refit: fc has few rows for each input", "The machine was noisy"])
    ['The machine was noisy', 'Refit: fc has few rows for each input']
    """
    merged = [note for note in notes if not LAYER.match(note)] + _of_layers(notes)
    return sorted(merged, key=_weight)


def _weight(note: str) -> int:
    if GRAVE.search(note):
        return 0
    return 2 if DETAIL.search(note) or note.startswith(("Not re", "not re")) else 1


def _of_layers(notes: Sequence[str]) -> list[str]:
    found: dict[str, list[str]] = {}
    for match in filter(None, map(LAYER.match, notes)):
        found.setdefault(match[1].capitalize(), []).append(match[2])
    return [
        f"{what}, as held-out images were no better with it: {_listed(layers)}"
        for what, layers in found.items()
    ]


def _listed(layers: Sequence[str]) -> str:
    if len(layers) <= FEW:
        return ", ".join(layers)
    return f"{len(layers)} layers ({', '.join(layers[:FEW])}, ...; report.html has each)"
