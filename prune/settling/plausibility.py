"""Whether a network knows its labels at all: what is pruned by one that does not means nothing."""

import numpy as np

from .answers import Answers


def chance_note(answers: Answers) -> str:
    """What has to be said of a network near chance; nothing of another.

    Chance is the larger of 1/K and the share of the most frequent label, which a constant answer
    gets right. A network is near it where the 95 % interval of its accuracy reaches down to it.

    >>> labels_N = np.arange(400) % 2
    >>> chance_note(Answers(np.zeros(400, dtype=np.int64), labels_N, 2))[:69]
    'the network gets 50.0 % of 400 held-out images right, no more than ch'
    >>> chance_note(Answers(labels_N, labels_N, 2))
    ''
    """
    accuracy = answers.accuracy(np.arange(answers.num_labels))
    largest = np.bincount(answers.labels_N).max() / len(answers)
    chance = max(float(largest), 1 / answers.num_labels)
    if accuracy.low > chance:
        return ""
    return (
        f"the network gets {100 * accuracy.top1:.1f} % of {len(answers)} {answers.what} right, "
        f"no more than chance ({100 * chance:.1f} %) as far as they tell; either it is "
        "not trained, or its images are fed in another way (`mean`, `std`, `input_size`), or its "
        "labels are others (`labels`); what is measured on it means little"
    )
