"""Networks with the weights that torchvision and timm offer; random ones only when asked for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError, UsageError
from . import zoo
from .callables import Name, Trusted
from .origin import Origin, imagenet_mean_std


@dataclass(frozen=True)
class Pretrained:
    """A network of a library and what it is fed."""

    model: nn.Module
    origin: Origin


def load_pretrained(spec: Trusted, num_labels: int | None) -> Pretrained:
    """The pretrained network of that name, or with ":weights=none" a random one.

    Args:
        spec: "torchvision:NAME" or "timm:NAME", with options.
        num_labels: other than the pretrained number gives a new, random output layer.

    Raises:
        UsageError: unknown name or option.
        InputError: the weights are not on this machine and cannot be downloaded.
    """
    parsed = zoo.parse_arch(spec)
    options = dict(parsed.options)
    weights = str(options.pop("weights", "default")).lower()
    if weights not in ("none", "default"):
        raise UsageError(
            f"`model={spec}` given; expected weights=none for random weights, or no such option"
        )
    own_labels = _num_pretrained_labels(parsed)
    plain = str(zoo.ArchName(parsed.source, parsed.name, options))
    origin = origin_of(plain, num_labels or own_labels)
    if weights == "none":
        model = zoo.build(Trusted(plain), origin.num_labels)
        return Pretrained(model, replace(origin, arch=plain))
    state, labels = _fetch(parsed, str(spec))
    model = zoo.build(Trusted(str(origin.arch)), origin.num_labels)
    _copy(state, model, origin.num_labels != own_labels, str(spec))
    return Pretrained(model, replace(origin, labels=labels if num_labels is None else ()))


def weights_are_here(spec: str) -> bool:
    """Whether a network of a library needs no download, as far as can be told without one."""
    parsed = zoo.parse_arch(spec)
    if parsed.options.get("weights") == "none":
        return True
    if parsed.source != "torchvision" or parsed.name not in zoo.torchvision_names():
        return False
    file = Path(_torchvision_weights(parsed.name).url).name
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


def origin_of(arch: Name, num_labels: int) -> Origin:
    """What a pretrained network of that architecture is fed, and how it is built."""
    parsed = zoo.parse_arch(arch)
    options = dict(parsed.options)
    size = input_size(arch)
    if parsed.source == "torchvision" and parsed.name in ("googlenet", "inception_v3"):
        # Their weights want pixels in -1..1, which the network itself makes of ImageNet's range.
        options.setdefault("transform_input", True)
    built = str(zoo.ArchName(parsed.source, parsed.name, options))
    size = (int(options.get("in_channels", 3)), *size[1:])
    mean, std = pretrained_scale(arch) if size[0] == 3 else imagenet_mean_std(size[0])
    return Origin(built, num_labels, None, (), size, mean, std)


def pretrained_scale(arch: Name) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of the colours that the pretrained weights of an architecture were made for."""
    parsed = zoo.parse_arch(arch)
    if parsed.source == "timm":
        found = zoo.import_timm(parsed.name).get_pretrained_cfg(parsed.name)
        stated = (found.mean, found.std) if found else ()
    else:
        transforms = _torchvision_weights(parsed.name).transforms()
        stated = (transforms.mean, transforms.std)
    if len(stated) != 2 or any(len(values) != 3 for values in stated):
        return imagenet_mean_std(3)
    return tuple(map(float, stated[0])), tuple(map(float, stated[1]))


def input_size(arch: Name) -> tuple[int, int, int]:
    """Channels, height, width that the pretrained weights of an architecture were made for."""
    parsed = zoo.parse_arch(arch)
    if parsed.source == "timm":
        found = zoo.import_timm(parsed.name).get_pretrained_cfg(parsed.name)
        channels, height, width = found.input_size if found else (3, 224, 224)
        return channels, height, width
    transforms = _torchvision_weights(parsed.name).transforms()
    size = int(transforms.crop_size[0])
    return 3, size, size


def _torchvision_weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _fetch(parsed: zoo.ArchName, spec: str) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """State dict and label names, from the library's cache or its server."""
    try:
        if parsed.source == "timm":
            timm = zoo.import_timm(parsed.name)
            return timm.create_model(parsed.name, pretrained=True).state_dict(), ()
        weights = _torchvision_weights(parsed.name)
        return weights.get_state_dict(progress=False), tuple(weights.meta["categories"])
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:90]
        raise InputError(
            f"`model={spec}`: its weights are not on this machine and could not be downloaded "
            f"({reason}); connect to the network, give a file, or take random weights with "
            f"`model={spec}:weights=none`"
        ) from error


def _num_pretrained_labels(parsed: zoo.ArchName) -> int:
    if parsed.source == "torchvision":
        return 1000
    found = zoo.import_timm(parsed.name).get_pretrained_cfg(parsed.name)
    return int(found.num_classes) if found and found.num_classes else 1000


def _copy(state: dict[str, torch.Tensor], model: nn.Module, new_output: bool, spec: str) -> None:
    """Load what fits; only a new output layer and a first layer of other channels may differ."""
    wanted = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in wanted and v.shape == wanted[k].shape}
    absent = [k for k in wanted if k not in fitting]
    if len(absent) > 2 * new_output + (absent[:1] == list(wanted)[:1]):
        raise InputError(f"{spec}: the library's weights do not fit its network at {absent[0]}")
    model.load_state_dict(fitting, strict=False)
