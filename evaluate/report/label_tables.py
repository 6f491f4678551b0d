"""What became of every label, as the page shows it: rows of text and a sentence."""

from typing import Any

from . import words
from .label_change import LabelChange

MOST_LOST = 10
"""Labels of the table that is not folded."""
KINDS = {"lost": "was right", "gained": "is right now", "other": "was wrong, is wrong otherwise"}
KINDS_OF_ANSWERS = {"lost": "another answer", "gained": "another answer", "other": "another answer"}


def label_section(change: LabelChange | None) -> dict[str, Any]:
    """Everything the template needs; empty where labels were not looked at."""
    if change is None:
        return {}
    of_answers = change.of_answers
    rows = [
        {
            "label": line.label,
            "images": f"{line.images:,}",
            "before": words.percent(line.before),
            "after": words.percent(line.after),
            "change": f"{100 * (line.after - line.before):+.1f}",
        }
        for line in change.most_lost
    ]
    kinds = KINDS_OF_ANSWERS if of_answers else KINDS
    return {
        "sentence": _sentence(change, of_answers),
        "measure": words.sentence(change.measure),
        "of_answers": of_answers,
        "first": rows[:MOST_LOST],
        "all": rows if len(rows) > MOST_LOST else [],
        "confusions": change.confusions,
        "examples": [{"line": line, "kind": kinds[line.kind]} for line in change.examples],
    }


def _sentence(change: LabelChange, of_answers: bool) -> str:
    where = f"{change.images:,} {change.part} images"
    if change.changed is None:
        return f"Average precision of every label on {where}."
    share = words.percent(change.changed / max(change.images, 1))
    if of_answers:
        return f"{change.changed:,} of {where} ({share}) have another answer than the original's."
    return (
        f"The answer changed on {change.changed:,} of {where} ({share}): {change.lost:,} were "
        f"right and are wrong now, {change.gained:,} were wrong and are right now."
    )
