"""The notes on how far to trust a report, in the order in which they matter."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

GRAVE = (
    *("is a guess", "are a guess", "do not tell surely", "certificate failed"),
    *("not measurably faster", "retraining was dropped", "contradict"),
)
"""Words of notes that question the sentence at the top of the page: they are never folded."""
NOTABLE = ("noisy", "images: ", "not measured", "does not apply", "judged on zoomed")
"""Words of notes that widen its figures; they come before those on single layers."""
OF_LAYERS = re.compile(r"^(Not (?:repaired|refitted)): ([^:]+): (.*)$", re.DOTALL)
FEW = 2
"""So many notes of one kind on single layers stay as they are."""


@dataclass(frozen=True)
class TrustNotes:
    """Notes of a report.

    Attributes:
        grave: shown at once. others: folded, the more important first.
    """

    grave: tuple[str, ...]
    others: tuple[str, ...]


def trust_notes(warnings: Sequence[str]) -> TrustNotes:
    """Grave ones apart, and many of one kind on single layers as one.

    >>> trust_notes(["Not refitted: a: x", "The machine was noisy", "Not refitted: b: x",
    ...     "Not refitted: c: y", "Mean and std are a guess"])
    ... # doctest: +NORMALIZE_WHITESPACE
    TrustNotes(grave=('Mean and std are a guess',),
        others=('The machine was noisy', 'Not refitted: 3 layers (a: x; b: x; c: y)'))
    """
    grave = [note for note in warnings if _has(note, GRAVE)]
    rest = _merged([note for note in warnings if note not in grave])
    return TrustNotes(tuple(grave), tuple(sorted(rest, key=lambda note: not _has(note, NOTABLE))))


def _has(note: str, words: Sequence[str]) -> bool:
    return any(word in note.lower() for word in words)


def _merged(notes: Sequence[str]) -> list[str]:
    """Notes with those on single layers joined where there are many of a kind."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        found = OF_LAYERS.match(note)
        if found:
            kinds.setdefault(found[1], []).append(f"{found[2]}: {found[3]}")
    merged: list[str] = []
    for note in notes:
        found = OF_LAYERS.match(note)
        if not found or len(kinds[found[1]]) <= FEW:
            merged.append(note)
        elif kinds[found[1]][0] == f"{found[2]}: {found[3]}":
            layers = kinds[found[1]]
            merged.append(f"{found[1]}: {len(layers)} layers ({'; '.join(layers)})")
    return merged
