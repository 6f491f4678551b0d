"""Labels in the order of the network's outputs: as the user or the model file states it.

Folders come sorted, as torchvision's ImageFolder sorts them ("10" before "2").
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, UsageError
from ..options import DataOptions
from .arrays import ArraySplit
from .label_file import read_label_names
from .split import DataSet, Split
from .streams import StreamSplit

MOST_LISTED = 12
"""Names that a message lists."""


def natural_order(names: Sequence[str]) -> list[str]:
    """Names with their numbers compared as numbers, whatever the case, as timm sorts folders.

    >>> natural_order(["10", "2", "a1"])
    ['2', '10', 'a1']
    """
    return sorted(names, key=lambda name: (_pieces(name), name))


def _pieces(name: str) -> list[tuple[bool, int, str]]:
    """Text and numbers of a name in turns; numbers come first, as their digits do."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(not p.isdecimal(), int(p), "") if p.isdecimal() else (True, 0, p) for p in parts if p]


NAMED_ORDERS: Mapping[str, Callable[[Sequence[str]], Sequence[str]]] = {
    "natural": natural_order,
    "sorted": sorted,
    "caseless": lambda names: sorted(names, key=lambda name: (name.lower(), name)),
    "reversed": lambda names: names[::-1],
}
"""Orders in which folders are listed elsewhere: by timm, by torchvision, by file managers; and
outputs the other way round."""


def number_labels(data: DataSet, asked: DataOptions, stated: Sequence[str] = ()) -> DataSet:
    """The same images with their labels in the order that was asked for, or else stated.

    Args:
        stated: names in the order of the outputs, as the model file has them; they are used where
            they are those of the data. That data lack some of a network's labels is for the user
            to say: what is measured without them may cost them.

    Raises:
        UsageError: two orders are asked for.
        InputError: the file of names cannot be used, or lacks a label of the data.
    """
    if asked.multi_label:
        raise UsageError(
            "`multi_label` given for labelled images, which say so themselves; leave it out, or "
            "add `unlabeled`"
        )
    if asked.labels is not None:
        if asked.label_order is not None:
            raise UsageError(
                f"`label_order={asked.label_order}` given with `labels`, which states the order; "
                "leave one of them out"
            )
        names = _names_from(asked.labels, data)
        return _noting(_renumber(data, names), *_lacking(names, data.labels))
    if asked.label_order is not None:
        is_natural = asked.label_order == "natural"
        return _renumber(data, tuple(natural_order(data.labels)) if is_natural else data.labels)
    is_same = len(stated) == len(data.labels) and set(stated) == set(data.labels)
    if not is_same or tuple(stated) == data.labels:
        return data
    note = f"the labels are in the order that the model file states: {listed(stated)}"
    return _noting(_renumber(data, tuple(stated)), note)


def name_outputs(data: DataSet, asked: DataOptions, stated: Sequence[str] = ()) -> DataSet:
    """Images that nobody labelled, with names for the network's outputs.

    They are those that the user gives, or else the model file; or else their numbers.

    Raises:
        UsageError: an order of labels is asked for.
        InputError: there is not one name for each output.
    """
    data = replace(data, multi_label=asked.multi_label)
    if asked.label_order is not None:
        raise UsageError(
            f"`label_order={asked.label_order}` given for unlabeled images, which have no order; "
            "leave it out, or give the names of the outputs as `labels`"
        )
    if asked.labels is None:
        return replace(data, labels=tuple(stated)) if len(stated) == len(data.labels) else data
    names = read_label_names(asked.labels)
    if len(names) != len(data.labels):
        raise InputError(
            f"`labels={asked.labels}` has {len(names)} names ({listed(names)}) for a network of "
            f"{len(data.labels)} outputs; expected a name for each"
        )
    return replace(data, labels=names)


def _names_from(path: Path, data: DataSet) -> tuple[str, ...]:
    """The names in a file, which must be those of the data, or more."""
    names = read_label_names(path)
    lacking = [label for label in data.labels if label not in set(names)]
    if lacking:
        raise InputError(
            f"`labels={path}` has {len(names)} names ({listed(names)}) and not {lacking[0]}, "
            f"which `data={data.name}` holds; expected a name for each label of the data; "
            "add it where its output is, or take its images away"
        )
    return names


def _lacking(names: Sequence[str], labels: Sequence[str]) -> Iterator[str]:
    """That the data know some of the names only."""
    if len(names) > len(labels):
        yield (
            f"the data hold images of {len(labels)} of {len(names)} labels: nothing is measured "
            "for the others, and pruning or retraining may cost them"
        )


def _noting(data: DataSet, *notes: str) -> DataSet:
    return replace(data, notes=(*data.notes, *notes))


def _renumber(data: DataSet, names: tuple[str, ...]) -> DataSet:
    """The same images, with the label at `names[k]` as number k.

    Raises:
        InputError: the data are splits of the user's own making.
    """
    if names == data.labels:
        return data
    place = {name: output for output, name in enumerate(names)}
    number_K = torch.tensor([place[label] for label in data.labels], dtype=torch.int64)
    splits = [_renumbered(part, number_K) for part in (data.train, data.held_out, data.test)]
    return replace(data, labels=names, train=splits[0], held_out=splits[1], test=splits[2])


def _renumbered(part: Split, number_K: Tensor) -> Split:
    if isinstance(part, ArraySplit | StreamSplit):
        return replace(part, labels_N=number_K[part.labels_N])
    raise InputError(
        f"`labels` or `label_order` given for data of a {type(part).__name__}, which numbers its "
        "labels itself; put them in order there, and leave the option out"
    )


def listed(names: Sequence[str], most: int = MOST_LISTED) -> str:
    """The first of many names, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
