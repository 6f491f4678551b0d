"""What tells one network, and one data set, from another: state of a run is bound to it."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from .split import DataSet


def weights_digest(model: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 of names, types, shapes and values of the state dict.

    It does not depend on the device, nor on how tensors lie in memory.

    >>> layer = nn.Linear(2, 2)
    >>> weights_digest(layer) == weights_digest(nn.Sequential(layer)[0])
    True
    """
    sha = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            sha.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
            sha.update(plain.flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


def data_facts(data: DataSet) -> dict[str, Any]:
    """Name, labels, sizes of the parts and normalisation of a data set, in the words of errors."""
    return {
        "`data`": str(data.name),
        "labels": list(data.labels),
        "number of images": [part.num_images for part in (data.train, data.held_out, data.test)],
        "`input_size`": list(data.input_size),
        "`mean`": list(data.mean),
        "`std`": list(data.std),
        "`channel_order`": data.channel_order,
        **({"`unlabeled`": True} if data.unlabeled else {}),
    }
