"""Targets as data sets give them, read as the labels of one of two tasks.

| targets                              | labels                                               |
|--------------------------------------|------------------------------------------------------|
| (N,) or (N, 1) whole numbers         | (N,) int64: a class for each image; floats too (BCE) |
| (N, K) of 0 and 1, one 1 in each row | (N,) int64: one-hot, the place of the 1              |
| (N, K) of 0 and 1                    | (N, K) int64: any number of labels for each image    |

Which holds is settled once, from all targets of the data.

Shapes: N images, K labels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InputError

TargetForm = Literal["index", "one-hot", "multi-hot"]
ONE_HOT_NOTE = (
    "every target is a row of {columns} numbers with a single 1 (one-hot): taken as one class for "
    "each image, not as several labels"
)


@dataclass(frozen=True)
class Targets:
    """How the targets of a data set are read.

    Attributes:
        form: as in the table above.
        columns: numbers in each row; None for class indices.
    """

    form: TargetForm = "index"
    columns: int | None = None

    @staticmethod
    def of(rows: Tensor) -> "Targets":
        """How targets are read, from all of them (or as many as there are to see).

        >>> Targets.of(torch.tensor([[1, 0, 0], [0, 0, 1]])).form
        'one-hot'
        """
        if rows.ndim == 1:
            return Targets()
        form: TargetForm = "one-hot" if bool((rows.sum(1) == 1).all()) else "multi-hot"
        return Targets(form, rows.shape[1])

    @property
    def multi_label(self) -> bool:
        """Whether an image may have any number of labels."""
        return self.form == "multi-hot"

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said of the choice."""
        return (ONE_HOT_NOTE.format(columns=self.columns),) if self.form == "one-hot" else ()

    def read(self, targets: Any) -> Tensor:
        """Labels of a batch, (N,) or (N, K) int64.

        Raises:
            InputError: they are not of this form.
        """
        rows = target_rows(targets)
        if (rows.shape[1] if rows.ndim == 2 else None) != self.columns:
            raise InputError(
                f"targets of {_width(rows)} given after targets of "
                f"{self.columns or 'one number'}; expected the same of every image; "
                "give them alike"
            )
        if self.form != "one-hot":
            return rows
        if bool((rows.sum(1) != 1).any()):
            raise InputError(
                "a target with none or several labels given after targets with a single 1 each; "
                "expected the one or the other of all images; give class indices, or a first batch "
                "in which some image has several labels"
            )
        return rows.argmax(1)

    def require(self, num_labels: int) -> None:
        """Raises InputError where the rows have not one number for each label."""
        if self.columns is not None and self.columns != num_labels:
            raise InputError(
                f"targets of {self.columns} numbers for each image given, for {num_labels} labels; "
                "expected one number for each label; give `num_labels`, or targets of 0 and 1 for "
                "each label"
            )


INDICES = Targets()
"""Class indices, as most data sets give them."""


def target_rows(targets: Any) -> Tensor:
    """Targets of a batch as (N,) class indices or (N, K) of 0 and 1, int64.

    Raises:
        InputError: they are neither.

    >>> target_rows(torch.tensor([[1.0], [0.0]]))
    tensor([1, 0])
    """
    if isinstance(targets, tuple | list) and targets and isinstance(targets[0], Tensor):
        targets = torch.stack(list(targets), dim=-1)  # so default_collate gives rows in lists
    try:
        found = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"a label that is {_words(targets)} given; expected one whole number for each item, or "
            "a row of 0 and 1 with a number for each label; give such targets"
        ) from error
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim not in (1, 2) or found.is_complex():
        sizes = " x ".join(map(str, found.shape)) or "no axes"
        raise InputError(
            f"labels of {sizes} given; expected one whole number for each image, or a row of 0 "
            "and 1 with a number for each label; give such targets"
        )
    whole = found.long()
    is_whole_N = (whole == found).flatten(1).all(1) if found.ndim == 2 else whole == found
    if found.ndim == 2 and bool((~is_whole_N).any()):
        raise InputError(
            f"targets such as {_words(found[~is_whole_N][0])} given, which are no whole numbers; "
            "expected 0 or 1 for each label: soft labels (mixup, label smoothing) tell no label; "
            "give the labels themselves, and `mixup` for the retraining"
        )
    if bool((~is_whole_N).any()):
        label = float(found[~is_whole_N][0])
        raise InputError(f"a label of {label:g} given; expected a whole number; give class indices")
    if found.ndim == 2 and len(whole) and (int(whole.min()) < 0 or int(whole.max()) > 1):
        outside = whole[((whole < 0) | (whole > 1)).any(1)][0]
        raise InputError(
            f"a target of {_words(outside)} given; expected one class index for each image, or 0 "
            "or 1 for each label; give such targets"
        )
    if len(whole) and int(whole.min()) < 0:
        raise InputError(
            f"a label of {int(whole.min())} given; expected 0 to K - 1; give class indices"
        )
    return whole


def gather_rows(items: Iterable[Any]) -> Tensor:
    """Targets of single items, one after the other, as `target_rows` has them.

    Raises:
        InputError: they are none, or not alike.
    """
    rows = [target_rows([x] if isinstance(x, int | float) else _one(x)) for x in items]
    widths = {_width(row) for row in rows}
    if len(widths) > 1:
        raise InputError(
            f"targets of {' and of '.join(sorted(widths))} given; expected the same of every image;"
            " give them alike"
        )
    return torch.cat(rows) if rows else torch.empty(0, dtype=torch.int64)


def _one(target: Any) -> Any:
    """The target of one item with an axis for the items before it."""
    try:
        return torch.as_tensor(target)[None]
    except (TypeError, ValueError, RuntimeError):
        return target  # refused in the words of `target_rows`


def _width(rows: Tensor) -> str:
    return f"{rows.shape[1]} numbers" if rows.ndim == 2 else "one number"


def _words(target: Any) -> str:
    """A target as it was given, not too long.

    >>> _words(torch.tensor([0.5, 0.25]))
    '[0.5, 0.25]'
    """
    if isinstance(target, Tensor):
        target = [round(x, 3) for x in target.flatten().tolist()[:6]] if target.ndim else target
    text = repr(target)
    return text if len(text) <= 60 else f"{text[:57]}..."
