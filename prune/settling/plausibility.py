"""Whether a network knows its labels at all: what is pruned by one that does not means nothing."""

import numpy as np

from .answers import Answers


def chance_notes(answers: Answers) -> tuple[str, ...]:
    """What has to be said of a network near chance; nothing of another.

    Chance is the larger of 1/K and the share of the most frequent label, which a constant answer
    gets right. A network is near it where the 95 % interval of its accuracy reaches down to it.

    >>> labels_N = np.arange(400) % 2
    >>> len(chance_notes(Answers(np.zeros(400, dtype=np.int64), labels_N, 2)))
    1
    >>> chance_notes(Answers(labels_N, labels_N, 2))
    ()
    """
    accuracy = answers.accuracy(np.arange(answers.num_labels))
    largest = np.bincount(answers.labels_N).max() / len(answers)
    chance = max(float(largest), 1 / answers.num_labels)
    if accuracy.low > chance:
        return ()
    note = (
        f"the network gets {100 * accuracy.top1:.1f} % of {len(answers)} {answers.what} right, "
        f"no more than chance ({100 * chance:.1f} %) as far as they tell"
    )
    return (note,)
