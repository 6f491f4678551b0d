"""Weights of a file in the network that they are of."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..structure.precision import precision_note


def fill_network(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights that fit; those in another precision become the network's.

    Raises:
        InputError: they are not finite.
    """
    wanted = model.state_dict()
    values = {name: value.to(wanted[name].dtype) for name, value in state.items() if name in wanted}
    if not all(torch.isfinite(v).all() for v in values.values() if v.is_floating_point()):
        raise InputError(
            f"{source} holds weights that are not finite numbers; give an earlier checkpoint"
        )
    model.load_state_dict(values, strict=False)
    model.eval()


def precision_notes_of(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """That weights came in another precision than float32, where any did."""
    others = {x.dtype for x in state.values() if x.is_floating_point()} - {torch.float32}
    return (precision_note(others),) if others else ()


def count_outputs(model: nn.Module) -> int:
    """Width of the last linear layer or convolution in the order of definition.

    Raises:
        InputError: there is none.
    """
    widths = [
        layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    if not widths:
        raise InputError(
            "the network has no linear layer and no convolution; expected an image classifier; "
            "give another network"
        )
    return widths[-1]
