"""Weights that no network can be measured with: NaN, infinity, variances below zero."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError


def check_finite_weights(model: nn.Module) -> None:
    """Refuse a network whose outputs would mean nothing.

    Raises:
        InputError: a parameter or a running statistic of a batch norm is not finite, or a running
            variance is negative by more than its norm adds to it.
    """
    for name, tensor in model.named_parameters():
        _check(name, bool(torch.isfinite(tensor.detach()).all()), "NaN or infinity")
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        for key in ("running_mean", "running_var"):
            tensor = getattr(module, key)
            if tensor is not None:
                _check(f"{name}.{key}", bool(torch.isfinite(tensor).all()), "NaN or infinity")
        if module.running_var is not None:
            least = float(module.running_var.min()) + module.eps
            _check(f"{name}.running_var", least > 0, "negative variances")


def _check(name: str, is_fine: bool, found: str) -> None:
    if not is_fine:
        raise InputError(
            f"a network whose {name} holds {found} given; expected finite weights and positive "
            "variances; give an earlier checkpoint, or train again with a smaller learning rate"
        )
