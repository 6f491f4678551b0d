"""Networks whose weights have equal names and shapes and that still answer differently.

A state dict tells sizes, and neither strides nor pooling. Of torchvision's classifiers and the
zoo's no two share names and shapes; of timm's, those of `TWINS` share them with torchvision's
(compared with timm 1.0.31 over its ResNets, DenseNets, VGGs and Inceptions). Which one a file is
of is measured on held-out images where the architecture was inferred; what the user named is taken
as it is.

A ResNet changed by hand for small images, or with the strides of its first publication, cannot be
named by any architecture here. Where the network does badly, such changes are tried, and told.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from math import sqrt

import torch
from torch import nn

from ...evaluate.measure.accuracy import measure_accuracy
from ..inputs import zoo
from ..inputs.callables import Trusted
from ..inputs.filled import fill_network
from .opened import SETTLING_IMAGES, Opened

TWINS: Mapping[str, tuple[str, ...]] = {
    "torchvision:resnet18": ("timm:resnetblur18",),
    "torchvision:resnet50": ("timm:resnetblur50", "timm:resnetaa50"),
}
"""Other networks with the same names and shapes: these blur before they stride."""
DEVIATIONS = 3.0
"""By so many standard deviations of the difference another network must be better: chance does that
once in 700 times."""
DOUBTFUL = 0.5
"""Below this share of right answers, changes that leave no trace in a file are tried as well."""
SMALL_SIDE = 64
"""Pixels: for images of this side and less, ResNets are often changed to keep them large."""


def settle_twins(opened: Opened) -> Opened:
    """The checkpoint with the best of the networks that its weights fit, and what is to be said."""
    arch = opened.checkpoint.origin.arch or ""
    twins = TWINS.get(arch, ()) if opened.checkpoint.is_inferred and find_spec("timm") else ()
    if not twins and not _is_resnet(opened.checkpoint.model, arch):
        return opened
    own = _count_right(opened, opened.checkpoint.model)
    for twin in twins:
        model = _build(opened, twin)
        right = _count_right(opened, model)
        if _is_better(right, own, _num_images(opened)):
            origin = replace(opened.checkpoint.origin, arch=twin)
            changed = replace(opened.checkpoint, model=model, origin=origin)
            return replace(opened, checkpoint=changed).noting(
                f"the weights fit {arch} and `arch={twin}`: the second is taken, with {right} of "
                f"{_num_images(opened)} held-out images right, {own} with the first"
            )
    return _doubt(opened, own)


def _doubt(opened: Opened, own: int) -> Opened:
    """The same, with the change that would make it better by far, if there is one."""
    count, model = _num_images(opened), opened.checkpoint.model
    if own >= DOUBTFUL * count or not _is_resnet(model, opened.checkpoint.origin.arch or ""):
        return opened
    is_small = max(opened.data.input_size[1:]) <= SMALL_SIDE
    tried = {}
    for words, change in (SMALL_CHANGES if is_small else {}).items() | CHANGES.items():
        changed = copy.deepcopy(model)
        change(changed)
        tried[words] = _count_right(opened, changed)
    words, right = max(tried.items(), key=lambda one: (one[1], one[0]))
    if not _is_better(right, own, count):
        return opened
    return opened.noting(
        f"{own} of {count} held-out images are right, and {right} {words}, which no file of "
        "weights tells: the network was probably trained so; give the function that builds it "
        "with `arch=package.module:callable`"
    )


def _is_resnet(model: nn.Module, arch: str) -> bool:
    return (
        arch.startswith("torchvision:") and hasattr(model, "maxpool") and hasattr(model, "layer4")
    )


def _build(opened: Opened, arch: str) -> nn.Module:
    old = opened.checkpoint.model
    model = zoo.build(Trusted(arch), opened.checkpoint.origin.num_labels)
    fill_network(model, old.state_dict(), arch)
    return model.to(opened.device).to(memory_format=torch.channels_last).eval()


def _num_images(opened: Opened) -> int:
    return min(SETTLING_IMAGES, opened.data.held_out.num_images)


def _count_right(opened: Opened, model: nn.Module) -> int:
    limit, device = _num_images(opened), opened.device
    return measure_accuracy(model, opened.data.held_out, device=device, limit=limit).correct


def _is_better(right: int, own: int, count: int) -> bool:
    """Whether a difference is beyond chance: two counts of one binomial law each, taken as
    independent, though on the same images they differ by less.

    >>> _is_better(450, 440, 500), _is_better(450, 400, 500)
    (False, True)
    """
    variance = sum(hits * (count - hits) / count for hits in (right, own))
    return right - own > DEVIATIONS * sqrt(variance)


def _drop_pooling(model: nn.Module) -> None:
    model.maxpool = nn.Identity()


def _drop_stride(model: nn.Module) -> None:
    model.conv1.stride = (1, 1)  # type: ignore[assignment]


def _drop_both(model: nn.Module) -> None:
    _drop_pooling(model)
    _drop_stride(model)


def _stride_early(model: nn.Module) -> None:
    """Bottlenecks stride in their first convolution (He et al. 2015), not in the second."""
    for block in model.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        is_bottleneck = isinstance(getattr(block, "conv3", None), nn.Conv2d)
        if is_bottleneck and isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
            first.stride, second.stride = second.stride, first.stride


Alteration = Callable[[nn.Module], None]
SMALL_CHANGES: Mapping[str, Alteration] = {
    "without the first pooling": _drop_pooling,
    "with a first convolution of stride 1": _drop_stride,
    "with a first convolution of stride 1 and no pooling after it": _drop_both,
}
CHANGES: Mapping[str, Alteration] = {
    "with the strides of the first ResNets (in the first convolution of a block)": _stride_early,
}
"""Changes to torchvision's ResNets that leave names and shapes as they are."""
