"""Batches of a user's own loader as inputs and labels, on the device.

Shapes: N items of a batch, K labels.
"""

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..forward import on_device, tensors_of
from .items import ItemReader, inputs_in_words
from .split import Batch, Inputs
from .targets import Targets


def inputs_in_batch(batch: Any, reader: ItemReader, device: torch.device | str) -> Inputs:
    """Inputs of a batch whose labels are not read, on the device.

    Raises:
        InputError: the batch does not tell, or they are no tensors.
    """
    inputs = reader.inputs_of(batch)
    require_tensors(inputs)
    return on_device(inputs, device)


def require_tensors(inputs: Any) -> list[Tensor]:
    """Tensors with a row for each item.

    Raises:
        InputError: there are none.
    """
    found = [x for x in tensors_of(inputs) if x.ndim]
    if not found:
        raise InputError(
            f"batches whose inputs are {inputs_in_words(inputs)} given; expected tensors; "
            "give a data set with tensors, as `transforms.ToTensor` makes them of pictures"
        )
    return found


def batch_of(batch: Any, reader: ItemReader, device: torch.device | str, targets: Targets) -> Batch:
    """Inputs as the network takes them and labels (N,) or (N, K), both on the device.

    Raises:
        InputError: the batch does not tell which they are, or they are of another kind.
    """
    inputs, given = reader.pair_of(batch)
    found = require_tensors(inputs)
    labels_N = targets.read(given)
    if len(labels_N) != len(found[0]):
        raise InputError(
            f"batches of {len(found[0])} inputs and {len(labels_N)} labels given; expected as many "
            "of both; check the `collate_fn`"
        )
    return on_device(inputs, device), labels_N.to(device)
