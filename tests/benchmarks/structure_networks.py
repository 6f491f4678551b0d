"""The networks of the structure table, with random weights that hide no error, and two images."""

from typing import Any

NOISE = 0.1
"""Standard deviation of what is added to constant parameters: biases and scales that begin at 0, 1
or 1e-6 would hide what is done to them."""
HEAD_NOISE = 0.02
"""The same for constant matrices (heads and projections that begin at zero)."""


def network_of(spec: str, size: int, batch: int = 2) -> tuple[Any, Any]:
    """A network (`timm:name`, `torchvision:name`) in evaluation mode, and images.

    The images have `size` pixels a side where the network runs on them, else the size that it was
    made for.
    """
    import torch

    zoo, _, name = spec.partition(":")
    torch.manual_seed(0)
    model, default = _timm(name) if zoo == "timm" else _torchvision(name, size)
    _disturb(model.eval())
    sides = (size, default[-1]) if zoo == "timm" else (default[-1],)
    for side in dict.fromkeys(sides):
        images = torch.randn(batch, *default[:1], side, side)
        try:
            with torch.no_grad():
                model(images)
        except Exception:
            if side == default[-1]:
                raise
        else:
            return model, images
    raise AssertionError("the last size either runs or raises")


def _timm(name: str) -> tuple[Any, tuple[int, ...]]:
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=1000)  # some have none
    return model, tuple(model.pretrained_cfg["input_size"])


def _torchvision(name: str, size: int) -> tuple[Any, tuple[int, ...]]:
    from torchvision import models

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    fixed = name.startswith(("vit", "maxvit"))  # their code fixes the size of the image
    side = 224 if fixed else 299 if name == "inception_v3" else size  # 299: its auxiliary head
    return models.get_model(name, weights=None, **options), (3, side, side)


def _disturb(model: Any) -> None:
    """Statistics, scales and biases that do something."""
    import torch
    from torch import nn

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter += NOISE * torch.randn(parameter.shape)
            elif (parameter == parameter.flatten()[0]).all():
                parameter += HEAD_NOISE * torch.randn(parameter.shape)
