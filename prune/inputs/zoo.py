"""Every architecture by name.

    NAME                       vgg6 vgg11 vgg16 avgg16 resnet20 resnet32 resnet44 resnet56 resnet110
    torchvision:NAME           any torchvision classifier
    timm:NAME                  any timm classifier (optional extra)
    package.module:callable    your own function; may take num_labels (or num_classes), in_channels

Options follow the name: `vgg6:in_channels=1`, `avgg16:early_pools=1,width=0.5`. They are part of
the name, so a file that records its architecture records them too.

A name is a `Trusted` where the user gave it. A plain `str` is what a file says: it is built only
where it is one of the first three forms, with options that `file_names` lists.
"""

import contextlib
import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from ..errors import InputError, PruneError, UsageError, first_line
from ..machine import memory_bytes
from .callables import Name, Trusted, call_with, import_callable, is_callable_name
from .cifar_resnet import DEPTHS, build_cifar_resnet
from .construction import Construction
from .file_names import check_file_arch
from .seeded import seeded
from .vgg import VGG_LAYERS, build_vgg

ZOO_NAMES = (*VGG_LAYERS, "avgg16", *DEPTHS)
"""Architectures of the zoo itself."""

USUAL_LABELS = 100_000
"""Up to so many outputs, no network of the libraries is larger than machines are."""

Option = int | float | bool | str
GivenName = TypeVar("GivenName", bound=Name)


@dataclass(frozen=True)
class ArchName:
    """A parsed architecture name.

    Attributes:
        source: "zoo", "torchvision", "timm" or "callable".
        name: what the source calls it.
        options: what follows the name, with numbers and booleans read.
        code: the callable, where the user named one; a file's words never give it.
    """

    source: str
    name: str
    options: Mapping[str, Option] = field(default_factory=dict)
    code: Trusted | None = None

    def __str__(self) -> str:
        prefix = f"{self.source}:" if self.source in ("torchvision", "timm") else ""
        options = ",".join(f"{key}={_write(value)}" for key, value in self.options.items())
        return f"{prefix}{self.name}" + (f":{options}" if options else "")


def parse_arch(arch: Name) -> ArchName:
    """Read an architecture name; nothing is imported.

    Raises:
        UsageError: the name is none of the four forms, or its options are not key=value.
    """
    body, options = str(arch), ""
    head, colon, tail = body.rpartition(":")
    if colon and "=" in tail:
        body, options = head, tail
    is_trusted = isinstance(arch, Trusted)
    parsed = dict(map(_read_option, filter(None, options.split(","))))
    if body in ZOO_NAMES:
        return ArchName("zoo", body, parsed)
    source, _, name = body.partition(":")
    if source in ("torchvision", "timm") and name:
        return ArchName(source, name, parsed)
    if is_callable_name(body):
        return ArchName("callable", body, parsed, Trusted(body) if is_trusted else None)
    near = difflib.get_close_matches(body, ZOO_NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(ZOO_NAMES)}"
    raise UsageError(
        f"architecture '{arch}' is not known; {hint} "
        "(or torchvision:NAME, timm:NAME, package.module:callable)"
    )


def with_channels(arch: GivenName, in_channels: int) -> GivenName:
    """The same architecture for inputs of so many channels (3 needs no option)."""
    parsed = parse_arch(str(arch))
    options = {**parsed.options, "in_channels": in_channels}
    if in_channels == 3:
        del options["in_channels"]
    return type(arch)(str(ArchName(parsed.source, parsed.name, options)))


def build(arch: Name, num_labels: int, seed: int | None = None) -> nn.Module:
    """A network with random weights, in evaluation mode.

    Args:
        arch: one of the forms above; a plain `str` counts as the word of a file.
        num_labels: width of the output layer.
        seed: of the weights, which are then the same every time, and torch's own generator is left
            as it was; None draws them from that generator.

    Raises:
        UsageError: unknown name or option.
        InputError: the library behind the name is missing, a callable gives no network, a file
            names what only the user may name, or the network takes more memory than there is.
    """
    parsed = parse_arch(arch)
    if not isinstance(arch, Trusted):
        check_file_arch(arch, parsed.source, parsed.name, parsed.options)
    if parsed.source == "callable":
        return _build_seeded(parsed, num_labels, seed).eval()
    try:
        if parsed.options or num_labels > USUAL_LABELS:
            with Construction(str(arch), memory_bytes(), on_meta=True):
                _build(parsed, num_labels)
        return _build_seeded(parsed, num_labels, seed).eval()
    except PruneError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise UsageError(f"architecture '{arch}': {reason}; check its options") from error


def build_empty(arch: Name, num_labels: int) -> nn.Module:
    """As `build`, with parameters on the meta device: shapes and names at little cost."""
    with Construction(str(arch), memory_bytes(), on_meta=True):
        return build(arch, num_labels)


def torchvision_names() -> list[str]:
    """Names of torchvision's classifiers."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def _build_seeded(parsed: ArchName, num_labels: int, seed: int | None) -> nn.Module:
    if seed is None:
        return _build(parsed, num_labels)
    with seeded(seed):
        return _build(parsed, num_labels)


def _build(parsed: ArchName, num_labels: int) -> nn.Module:
    options: dict[str, Any] = dict(parsed.options)
    if parsed.source == "zoo":
        family = build_cifar_resnet if parsed.name in DEPTHS else build_vgg
        network: nn.Module = family(parsed.name, num_labels, **options)
        return network
    in_channels = int(options.pop("in_channels", 3))
    if parsed.source == "torchvision":
        return _build_torchvision(parsed.name, num_labels, in_channels, options)
    if parsed.source == "timm":
        return _build_timm(parsed.name, num_labels, in_channels, options)
    offered = {"num_labels": num_labels, "num_classes": num_labels, "in_channels": in_channels}
    assert parsed.code is not None, "build refuses a callable that a file names"
    network = call_with(import_callable(parsed.code), {**offered, **options}, parsed.name)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{parsed.name} returned {type(network).__name__}; it must return a torch.nn.Module"
        )
    return network


def _build_torchvision(
    name: str, num_labels: int, in_channels: int, options: dict[str, Any]
) -> nn.Module:
    from torchvision import models

    names = torchvision_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "see torchvision.models"
        raise UsageError(f"torchvision has no classifier {name!r}; {hint}")
    if name in ("googlenet", "inception_v3"):
        # The auxiliary heads serve training from scratch only; their set-up takes minutes.
        options = {"aux_logits": False, "init_weights": False, **options}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_labels, **options)
    if in_channels != 3:
        replace_first_convolution(network, in_channels)
    return network


def _build_timm(name: str, num_labels: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    timm = import_timm(name)
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() names them all"
        raise UsageError(f"timm has no classifier {name!r}; {hint}")
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=num_labels, in_chans=in_channels, **options
    )
    return network


def pooling_of(network: nn.Module) -> str | None:
    """How a network of timm averages its last feature map; None where it does not say."""
    for owner in (network, getattr(network, "head", None)):
        pool = getattr(owner, "global_pool", None)
        name = getattr(pool, "pool_type", pool)
        if isinstance(name, str):
            return name
    return None


def import_timm(name: str) -> Any:
    """The timm library, or an error that says how to get it."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise InputError(
            f"timm:{name} needs the timm library; install it with pip install 'prune-dl[timm]'"
        ) from error


def replace_first_convolution(network: nn.Module, in_channels: int) -> None:
    """Give the network a new, random first convolution for inputs of so many channels."""
    convolutions = [(p, m) for p, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise UsageError(
            "the network has no convolution that could take other input channels; "
            "give images of 3 channels"
        )
    path, old = convolutions[0]
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    network.set_submodule(path, new)


def _read_option(text: str) -> tuple[str, Option]:
    key, equals, value = text.partition("=")
    if not (equals and key.isidentifier() and value):
        raise UsageError(f"architecture option {text!r} is not of the form key=value")
    if value in ("true", "false"):
        return key, value == "true"
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return key, read(value)
    return key, value


def _write(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
