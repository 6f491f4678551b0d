"""The notes on how far to trust a report, in the order in which they matter.

report.json has all of them, as they were found.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

GRAVE = (
    *("is a guess", "are a guess", "nobody says", "do not tell surely", "contradict", "chance"),
    *("certificate failed", "not measurably faster", "latency was not measured"),
    *("retraining was dropped", "repair was dropped"),
)
"""Words of notes that question the figures themselves: a page never folds them."""
NOTABLE = ("noisy", "images: ", "not measured", "does not apply", "judged on zoomed")
"""Words of notes that widen the figures."""
DETAIL = ("rows for each input", "ridge was raised", "stays whole", "not refitted", "not repaired")
"""Words of notes for who wants to know more; they come last."""
OF_LAYERS = re.compile(r"^(Not (?:repaired|refitted)): ([^:]+): (.*)$", re.DOTALL)
FEW = 2
"""So many notes of one kind on single layers stay as they are."""
NAMED = 3
"""Layers that a short note still names."""
Join = Callable[[Sequence[tuple[str, str]]], str]
"""From layers and what is said of each to words for all of them."""


@dataclass(frozen=True)
class TrustNotes:
    """Notes of a report.

    Attributes:
        grave: shown at once. others: folded, the more important first.
    """

    grave: tuple[str, ...]
    others: tuple[str, ...]


def trust_notes(warnings: Sequence[str]) -> TrustNotes:
    """Grave ones apart, and many of one kind on single layers as one, as a page shows them.

    >>> trust_notes(["Not refitted: a: x", "The machine was noisy", "Not refitted: b: x",
    ...     "Not refitted: c: y", "Mean and std are a guess"])
    ... # doctest: +NORMALIZE_WHITESPACE
    TrustNotes(grave=('Mean and std are a guess',),
        others=('The machine was noisy', 'Not refitted: 3 layers (a: x; b: x; c: y)'))
    """
    return _ranked(warnings, lambda layers: "; ".join(f"{name}: {why}" for name, why in layers))


def ranked_notes(warnings: Sequence[str]) -> list[str]:
    """The same for a terminal: a line each, what matters first.

    >>> ranked_notes(["Refit: fc has few rows for each input", "The machine was noisy"])
    ['The machine was noisy', 'Refit: fc has few rows for each input']
    """
    found = _ranked(warnings, _few_names)
    return [*found.grave, *found.others]


def _few_names(layers: Sequence[tuple[str, str]]) -> str:
    names = [name for name, _ in layers[:NAMED]]
    return ", ".join([*names, *["..."] * (len(layers) > NAMED)]) + "; report.html has each"


def _ranked(warnings: Sequence[str], join: Join) -> TrustNotes:
    grave = [note for note in warnings if _has(note, GRAVE)]
    rest = _merged([note for note in warnings if note not in grave], join)
    return TrustNotes(tuple(grave), tuple(sorted(rest, key=_weight)))


def _weight(note: str) -> int:
    if _has(note, NOTABLE):
        return 0
    return 2 if _has(note, DETAIL) else 1


def _has(note: str, words: Sequence[str]) -> bool:
    return any(word in note.lower() for word in words)


def _merged(notes: Sequence[str], join: Join) -> list[str]:
    """Notes with those on single layers joined where there are many of a kind."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for note in notes:
        if found := OF_LAYERS.match(note):
            kinds.setdefault(found[1], []).append((found[2], found[3]))
    many = {kind: layers for kind, layers in kinds.items() if len(layers) > FEW}
    alone = [note for note in notes if not ((x := OF_LAYERS.match(note)) and x[1] in many)]
    joined = [f"{kind}: {len(layers)} layers ({join(layers)})" for kind, layers in many.items()]
    return [*alone, *joined]
