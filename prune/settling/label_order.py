"""Whether the labels stand in the order of the network's outputs: its own answers tell.

A network that was trained with its labels in another order (timm sorts 2 before 10, torchvision
after it) gives the right answers under wrong names. Named orders are tried on all images. Any other
one-to-one assignment of labels to outputs is found on one half of the images, as the one with most
right answers, and judged on the other half alone.

How sure one has to be:

- A better order is said from a paired test on (`SAID_BELOW`).
- It is certain (`CERTAIN_BELOW`) only where the network is also known to know its labels. Answers
  of an untrained network depend on the label too, and images of one label get the same answer, so
  that they count almost as one. Hence most images must be right (`MOSTLY_RIGHT`), or, of a named
  order, many labels must gain (`LABELS_BELOW`): no chance makes ten labels fit an order at once.
- With 1,000 labels and 500 images hardly a label is in both halves, so an assignment cannot reach
  `MOSTLY_RIGHT`: it is said, not certain. Named orders need no halves and are found all the same.

Shapes: N images, K labels. An order is written as output_K: label k is output output_K[k].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..inputs.label_order import NAMED_ORDERS, listed
from ..structure.units import FloatArray, IntArray
from .answers import Answers

SAID_BELOW = 1e-3
"""One right order in a thousand is doubted."""
CERTAIN_BELOW = 1e-4
"""Stricter, since a certain verdict ends the command."""
MOSTLY_RIGHT = 0.5
LABELS_BELOW = 1e-3
"""Of the sign test over labels: ten labels that gain, and none that loses."""


@dataclass(frozen=True)
class BetterOrder:
    """An order of the labels that the network's answers fit better than the present one.

    Attributes:
        name: of a named order; empty for an assignment.
        labels: names in the order of the network's outputs.
        is_certain: it is wrong to go on with the present order.
        top1, own_top1: accuracy with it and with the present order, on `num_images` images.
    """

    name: str
    labels: tuple[str, ...]
    is_certain: bool
    top1: float
    own_top1: float
    num_images: int
    what: str

    def __str__(self) -> str:
        """The finding in words, without what to do."""
        order = f"in the {self.name} order of their names, " if self.name else ""
        return (
            f"with the labels {order}{listed(self.labels)}, it gets {100 * self.top1:.1f} % of "
            f"{self.num_images} {self.what} right, {100 * self.own_top1:.1f} % with the present one"
        )


def find_better_order(answers: Answers, labels: Sequence[str]) -> BetterOrder | None:
    """The order that the answers fit far better than the present one; None where there is none."""
    named = _best_named(answers, labels)
    first, second = answers.halves()
    output_K = best_assignment(first)
    best = output_K if named is None else _outputs(labels, named.labels)
    if named is None or _gain(second, output_K, best) < SAID_BELOW:
        order = tuple(labels[k] for k in np.argsort(output_K))
        return _judge(second, "", labels, order, 1) or named
    return named


def _best_named(answers: Answers, labels: Sequence[str]) -> BetterOrder | None:
    orders: Mapping[str, tuple[str, ...]] = {
        name: order
        for name, make in NAMED_ORDERS.items()
        if (order := tuple(make(labels))) != tuple(labels)
    }
    found = [_judge(answers, name, labels, order, len(orders)) for name, order in orders.items()]
    return max(filter(None, found), key=lambda order: order.top1, default=None)


def _judge(
    answers: Answers, name: str, labels: Sequence[str], order: tuple[str, ...], num_tried: int
) -> BetterOrder | None:
    """An order with how sure it is; None where it is not even worth a word."""
    own_K, output_K = np.arange(len(labels)), _outputs(labels, order)
    p_value = num_tried * _gain(answers, output_K, own_K)
    accuracy = answers.accuracy(output_K)
    most = np.bincount(answers.labels_N).max() / len(answers)
    if p_value > SAID_BELOW or accuracy.low <= most:  # a constant answer fits any order somewhere
        return None
    knows = accuracy.top1 >= MOSTLY_RIGHT
    if name and not knows:
        knows = _gain_of_labels(answers, output_K, own_K) <= LABELS_BELOW
    own = answers.accuracy(own_K).top1
    is_certain = knows and p_value <= CERTAIN_BELOW
    return BetterOrder(name, order, is_certain, accuracy.top1, own, len(answers), answers.what)


def _outputs(labels: Sequence[str], order: Sequence[str]) -> IntArray:
    """output_K of names in the order of the outputs."""
    place = {name: output for output, name in enumerate(order)}
    return np.array([place[name] for name in labels], dtype=np.int64)


def _gain(answers: Answers, output_K: IntArray, than_K: IntArray) -> float:
    """p-value of McNemar's exact test that one order is no better than another.

    Source: McNemar, Psychometrika 12, 153 (1947).
    """
    change_N = answers.right_N(output_K).astype(int) - answers.right_N(than_K)
    return _sign_test(change_N)


def _gain_of_labels(answers: Answers, output_K: IntArray, than_K: IntArray) -> float:
    """The same with every label as one."""
    change_N = answers.right_N(output_K).astype(int) - answers.right_N(than_K)
    return _sign_test(np.bincount(answers.labels_N, change_N))


def _sign_test(change: FloatArray | IntArray) -> float:
    """p-value that changes for the better are no more frequent than those for the worse."""
    from scipy.stats import binomtest

    better, worse = int((change > 0).sum()), int((change < 0).sum())
    if better <= worse:
        return 1.0
    return float(binomtest(better, better + worse, 0.5, alternative="greater").pvalue)


def best_assignment(answers: Answers) -> IntArray:
    """The one-to-one assignment of labels to outputs with most right answers, output_K.

    A label that no image speaks for keeps its output, or where that is taken gets one that is left.

    >>> predicted_N, labels_N = np.array([1, 1, 0, 0, 2]), np.array([0, 0, 1, 1, 2])
    >>> best_assignment(Answers(predicted_N, labels_N, 4)).tolist()
    [1, 0, 2, 3]
    """
    from scipy.optimize import linear_sum_assignment

    labels = np.unique(answers.labels_N)
    outputs = np.unique(np.concatenate([labels, answers.predicted_N]))
    counts = np.zeros((len(labels), len(outputs)))
    # All of it together is worth less than one image.
    counts[np.arange(len(labels)), np.searchsorted(outputs, labels)] = 0.5 / len(labels)
    rows = np.searchsorted(labels, answers.labels_N)
    np.add.at(counts, (rows, np.searchsorted(outputs, answers.predicted_N)), 1)
    row, column = linear_sum_assignment(counts, maximize=True)
    return _completed(dict(zip(labels[row], outputs[column], strict=True)), answers.num_labels)


def _completed(found: Mapping[int, int], num_labels: int) -> IntArray:
    """An assignment of some labels as one of all."""
    taken = set(found.values())
    output_of = {int(k): int(output) for k, output in found.items()}
    rest = [k for k in range(num_labels) if k not in output_of]
    output_of |= {k: k for k in rest if k not in taken}
    left = [k for k in rest if k in taken]
    free = sorted(set(range(num_labels)) - set(output_of.values()))
    output_of |= dict(zip(left, free, strict=True))
    return np.array([output_of[k] for k in range(num_labels)], dtype=np.int64)
