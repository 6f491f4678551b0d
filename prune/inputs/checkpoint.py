"""A trained network and where it comes from, out of whatever the user has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, UsageError
from ..files import write_torch
from ..structure.precision import precision_note
from ..structure.units import AxisKey, IntArray
from . import pretrained, pruned_file, zoo
from .callables import Name, Trusted, is_callable_name
from .infer import IGNORED, Match, infer
from .origin import Origin
from .weights import check_file, no_such_file, read_weights, sha256_of

RESULT = "model.safetensors"
"""The network in an output folder of this tool."""


@dataclass(frozen=True)
class Checkpoint:
    """A network that is ready to be pruned.

    Attributes:
        model: in evaluation mode, float32, on the CPU.
        origin: how to build it and what it is fed.
        sha256: of the file, None where there is no file.
        kept: positions that were kept on each cut axis, of an already pruned network.
        knows_inputs: whether input size, mean and std of the origin come with the weights;
            if not, they are defaults, and the data decides.
        notes: what has to be said of the network as it is now: that it came in another precision.
    """

    model: nn.Module
    origin: Origin
    sha256: str | None = None
    kept: Mapping[AxisKey, IntArray] = field(default_factory=dict)
    knows_inputs: bool = False
    notes: tuple[str, ...] = ()


def load_checkpoint(
    spec: str,
    *,
    arch: str | None = None,
    num_labels: int | None = None,
    trust_pickle: bool = False,
    trust_file: bool = False,
) -> Checkpoint:
    """Open a trained network. `spec` and `arch` are the user's words; those of a file are data.

    Args:
        spec: a file (.pt, .pth, .th, .safetensors), an output folder of this tool,
            "torchvision:NAME" or "timm:NAME" (pretrained;
            random only with ":weights=none"), or "package.module:callable".
        arch: architecture of a bare state dict; None infers it.
        num_labels: where there is no file: outputs of the network, for other than the pretrained
            ones (their output layer is then new and random). With a file it is checked.
        trust_pickle: open files that run code.
        trust_file: take the names in a file for the user's own: they may import code.

    Raises:
        UsageError: an argument that does not fit.
        InputError: the file or the network cannot be used, or names code that it may not name.
    """
    path = Path(spec)
    if (path / RESULT).is_file():
        path = path / RESULT
    if path.exists():
        checkpoint = _from_file(path, arch, trust_pickle, trust_file)
        if num_labels not in (None, checkpoint.origin.num_labels):
            raise UsageError(
                f"`num_labels={num_labels}` given; {spec} has {checkpoint.origin.num_labels} "
                "outputs; leave it out"
            )
        return checkpoint
    if spec.startswith(("torchvision:", "timm:")):
        return _from_library(spec, num_labels)
    if is_callable_name(spec):
        model = zoo.build(Trusted(spec), num_labels or 10)
        return Checkpoint(model, Origin(spec, num_labels or count_outputs(model)))
    if spec.partition(":")[0] in zoo.ZOO_NAMES:
        raise UsageError(
            f"`model={spec}` given, an architecture without weights; expected a trained network; "
            f"make one with prune-dl train `arch={spec}`"
        )
    raise no_such_file(path)


def save_checkpoint(path: Path, model: nn.Module, origin: Origin) -> None:
    """Write weights and origin as plain values: `torch.load(path, weights_only=True)` reads it.

    Raises:
        InputError: the place cannot be written to.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_torch(path, {"origin": origin.to_dict(), "state_dict": state})


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


def _from_file(path: Path, arch: str | None, trust_pickle: bool, trust_file: bool) -> Checkpoint:
    typed = None if arch is None else Trusted(arch)
    check_file(path)
    if path.suffix == ".safetensors" and pruned_file.is_pruned_file(path):
        saved = pruned_file.read_pruned_file(path)
        whole = None if typed is None else zoo.build(typed, saved.origin.num_labels)
        model = pruned_file.load_pruned(path, whole, trust_file=trust_file)
        return Checkpoint(model.eval(), saved.origin, sha256_of(path), saved.kept, True)
    contents = read_weights(path, trust_pickle=trust_pickle)
    notes = _precision_notes(contents.state)
    if contents.origin is not None:
        origin = Origin.from_dict(contents.origin, str(path))
        if origin.arch is not None and arch in (None, origin.arch):
            name: Name = Trusted(origin.arch) if trust_file or typed else origin.arch
            model = _fill(name, origin.num_labels, contents.state, str(path))
            return Checkpoint(model, origin, sha256_of(path), knows_inputs=True, notes=notes)
    if contents.model is not None and arch is None:
        model = contents.model.float()
        return Checkpoint(model, Origin(None, count_outputs(model)), sha256_of(path), notes=notes)
    match = infer(contents.state, str(path), typed)
    if not str(match.arch).startswith("torchvision:") or match.num_labels != 1000:
        model = _fill(match.arch, match.num_labels, contents.state, str(path))
        origin = _guess_origin(match, model)
        return Checkpoint(model, origin, sha256_of(path), notes=notes)
    origin = pretrained.origin_of(match.arch, 1000)
    model = _fill(Trusted(str(origin.arch)), 1000, contents.state, str(path))
    return Checkpoint(model, origin, sha256_of(path), knows_inputs=True, notes=notes)


def _precision_notes(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """That weights came in another precision than float32, where any did."""
    others = {x.dtype for x in state.values() if x.is_floating_point()} - {torch.float32}
    return (precision_note(others),) if others else ()


def _guess_origin(match: Match, model: nn.Module) -> Origin:
    """What is known of a bare state dict: input channels, but not mean and std of its inputs."""
    channels = int(zoo.parse_arch(match.arch).options.get("in_channels", 3))
    half = (0.5,) * channels
    num_labels = match.num_labels or count_outputs(model)  # code that fixes its outputs
    return Origin(str(match.arch), num_labels, None, (), (channels, 32, 32), half, half)


def _from_library(spec: str, num_labels: int | None) -> Checkpoint:
    found = pretrained.load_pretrained(Trusted(spec), num_labels)
    return Checkpoint(found.model.eval(), found.origin, knows_inputs=True)


def _fill(arch: Name, num_labels: int, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """Build and load; half-precision weights become float32."""
    model = zoo.build(arch, num_labels)
    wanted = model.state_dict()
    values = {
        name: value.to(wanted[name].dtype) if name in wanted else value
        for name, value in state.items()
        if not name.startswith(IGNORED)
    }
    missing = [n for n in wanted if n not in values and not n.endswith("num_batches_tracked")]
    surplus = [n for n in values if n not in wanted]
    wrong = [n for n in values if n in wanted and values[n].shape != wanted[n].shape]
    if missing or surplus or wrong:
        first = (missing + surplus + wrong)[0]
        raise InputError(
            f"{source} is not a whole {arch}: {first} is missing or does not fit; give the whole "
            "file, or its own `arch`"
        )
    if not all(torch.isfinite(v).all() for v in values.values() if v.is_floating_point()):
        raise InputError(
            f"{source} holds weights that are not finite numbers; give an earlier checkpoint"
        )
    model.load_state_dict(values, strict=False)
    return model.eval()
