"""A trained network and where it comes from, out of whatever the user has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from ..errors import InputError, UsageError
from ..files import write_torch
from ..shown import short_repr
from ..structure.permanent import permanent
from ..structure.units import AxisKey, IntArray
from . import pretrained, pruned_file, zoo
from .callables import Name, Trusted, is_callable_name
from .described import WEIGHTS, Described, find_parts, imagenet_unless_said, read_described
from .filled import count_outputs, fill_network, precision_notes_of
from .infer import infer, infer_for
from .matches import MARK
from .origin import Origin
from .transformers_net import build_transformers
from .weight_sets import WeightKind, WeightSet, choose, unused_averages
from .weights import (
    Contents,
    check_file,
    is_safetensors,
    no_such_file,
    read_parts,
    read_weights,
    sha256_of,
)

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
        is_inferred: whether the architecture is nobody's word, but what names and shapes fit.
    """

    model: nn.Module
    origin: Origin
    sha256: str | None = None
    kept: Mapping[AxisKey, IntArray] = field(default_factory=dict)
    knows_inputs: bool = False
    notes: tuple[str, ...] = ()
    is_inferred: bool = False

    __repr__ = short_repr

    def noting(self, *notes: str) -> "Checkpoint":
        """The same with more to be said of it."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class _Asked:
    """What the user said of a file; as in `load_checkpoint`."""

    arch: Trusted | None
    weights: WeightKind | None
    trust_pickle: bool
    trust_file: bool


def load_checkpoint(
    spec: str,
    *,
    arch: str | None = None,
    num_labels: int | None = None,
    weights: WeightKind | None = None,
    trust_pickle: bool = False,
    trust_file: bool = False,
) -> Checkpoint:
    """Open a trained network. `spec` and `arch` are the user's words; those of a file are data.

    Args:
        spec: a file (.pt, .pth, .th, .ckpt, .safetensors, TorchScript), an output folder of this
            tool, a folder of timm or Hugging Face, "torchvision:NAME" or "timm:NAME" (pretrained;
            random only with ":weights=none"), or "package.module:callable".
        arch: architecture of a bare state dict; None infers it.
        num_labels: where there is no file: outputs of the network, for other than the pretrained
            ones (their output layer is then new and random). With a file it is checked.
        weights: of a file with averaged weights (EMA, SWA) beside the raw ones: which are the
            network's; None takes averaged ones.
        trust_pickle: open files that run code.
        trust_file: take the names in a file for the user's own: they may import code.

    Raises:
        UsageError: an argument that does not fit.
        InputError: the file or the network cannot be used, or names code that it may not name.
    """
    typed = None if arch is None else Trusted(arch)
    asked = _Asked(typed, weights, trust_pickle, trust_file)
    checkpoint = _load(spec, num_labels, asked)
    made = permanent(checkpoint.model)
    return replace(checkpoint, model=made.model).noting(*made.notes)


def _load(spec: str, num_labels: int | None, asked: _Asked) -> Checkpoint:
    """The network as it is in the file, or as its code builds it."""
    path = Path(spec)
    if (path / RESULT).is_file():
        path = path / RESULT
    if path.exists():
        checkpoint = _from_file(path, asked)
        if num_labels not in (None, checkpoint.origin.num_outputs):
            raise UsageError(
                f"`num_labels={num_labels}` given; {spec} has {checkpoint.origin.num_outputs} "
                "outputs; leave it out"
            )
        return checkpoint
    if asked.weights is not None:
        raise UsageError(
            f"`weights={asked.weights}` given; expected a file with several sets of weights as "
            "`model`; leave it out"
        )
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


def _from_file(path: Path, asked: _Asked) -> Checkpoint:
    if path.is_file() and is_safetensors(path) and pruned_file.is_pruned_file(path):
        return _from_pruned(path, asked)
    parts = find_parts(path) if path.is_dir() else []
    if not parts:
        check_file(path)
    if len(parts) > 1:
        contents, file = read_parts(parts), path
    else:
        file = parts[0] if parts else path
        contents = read_weights(file, trust_pickle=asked.trust_pickle, weights=asked.weights)
    digest = sha256_of(*(parts or [path]))
    if contents.model is not None and asked.arch is None:
        model = contents.model.float()
        notes = contents.notes
        return Checkpoint(model, Origin(None, count_outputs(model)), digest, notes=notes)
    if contents.model is not None:
        contents = Contents((WeightSet((), contents.model.state_dict()),), notes=contents.notes)
    return replace(_from_contents(contents, file, asked), sha256=digest)


def _from_pruned(path: Path, asked: _Asked) -> Checkpoint:
    saved = pruned_file.read_pruned_file(path)
    if asked.weights == "ema":
        raise UsageError(
            f"`weights=ema` given; expected averaged weights in {path}, which holds the weights "
            "of a pruned network; leave it out"
        )
    whole = None if asked.arch is None else zoo.build(asked.arch, saved.origin.num_labels)
    model = pruned_file.load_pruned(path, whole, trust_file=asked.trust_file)
    return Checkpoint(model.eval(), saved.origin, sha256_of(path), saved.kept, True)


def _from_contents(contents: Contents, file: Path, asked: _Asked) -> Checkpoint:
    """By what the file states, by what stands beside it, or by names and shapes, in this order."""
    if contents.origin is not None:
        origin = Origin.from_dict(contents.origin, str(file))
        stated: Name | None = origin.arch
        if origin.arch is not None and asked.trust_file:
            stated = Trusted(origin.arch)
        if (name := asked.arch or stated) is not None:
            opened = _open_sets(contents, file, name, asked)
            return replace(opened, origin=replace(origin, arch=str(name)), knows_inputs=True)
    beside = read_beside(file)
    if beside is None:
        return _open_sets(contents, file, asked.arch, asked)
    return _open_described(contents, file, beside, asked)


def read_beside(file: Path) -> Described | None:
    """What stands beside weights; a file of another program by the same name says nothing."""
    try:
        return read_described(file if file.is_dir() else file.parent)
    except InputError:
        if _is_of_library(file):
            raise
        return None


def _is_of_library(file: Path) -> bool:
    """Whether weights have the name that a library gives them: what stands beside is of them."""
    return file.is_dir() or file.name in WEIGHTS


def _open_described(contents: Contents, file: Path, beside: Described, asked: _Asked) -> Checkpoint:
    """As the files beside the weights say, where they fit them."""
    try:
        if asked.arch is None and beside.transformers is not None:
            opened = _open_transformers(contents, file, beside, asked)
        else:
            opened = _open_sets(contents, file, asked.arch or _described_arch(beside), asked)
    except InputError as error:
        if asked.arch is not None or _is_of_library(file) or beside.arch is None:
            raise
        opened = _open_sets(contents, file, None, asked)
        return opened.noting(f"{beside.source} is not of {file.name} and was not used ({error})")
    if not beside.says_inputs:
        return opened
    origin = imagenet_unless_said(beside, opened.origin)
    said = f"input size, mean and std of the network are those that {beside.source} states"
    return replace(opened, origin=origin, knows_inputs=True).noting(said, *beside.notes)


def _described_arch(beside: Described) -> Name | None:
    """The architecture that a file names, pooled as it says where that is not the usual way."""
    if beside.arch is None or beside.global_pool is None:
        return beside.arch
    if zoo.pooling_of(zoo.build_empty(beside.arch, MARK)) == beside.global_pool:
        return beside.arch
    separator = "," if ":" in beside.arch.removeprefix("timm:") else ":"
    return f"{beside.arch}{separator}global_pool={beside.global_pool}"


def _open_transformers(
    contents: Contents, file: Path, beside: Described, asked: _Asked
) -> Checkpoint:
    assert beside.transformers is not None
    model = build_transformers(beside.transformers, beside.source)
    name = str(beside.transformers.get("model_type"))[:60]
    found = infer_for(model, name, contents.sets, str(file))
    fit, notes = choose(found.fits, str(file), asked.weights)
    channels = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
    half = (0.5,) * channels
    origin = Origin(None, count_outputs(model), None, (), (channels, 224, 224), half, half)
    fill_network(model, fit.state, str(file))
    said = (
        f"{beside.source} names a network of transformers: files of the smaller network are opened "
        "with the network itself, in Python"
    )
    notes = (*contents.notes, *notes, *precision_notes_of(fit.state), said)
    return Checkpoint(model, origin, notes=notes)


def _open_sets(contents: Contents, file: Path, arch: Name | None, asked: _Asked) -> Checkpoint:
    """The network of an architecture, or of the one that fits, with the weights that were asked
    for."""
    source = str(file)
    found = infer(contents.sets, source, arch)
    fit, notes = choose(found.fits, source, asked.weights)
    notes = (*contents.notes, *notes, *unused_averages(contents.sets, found.fits, source))
    notes = (*notes, *precision_notes_of(fit.state))
    if not str(found.arch).startswith("torchvision:") or found.num_labels != 1000:
        model = zoo.build(found.arch, found.num_labels)
        num_labels = found.num_labels or count_outputs(model)
        fill_network(model, fit.state, source)
        origin = _guess_origin(found.arch, num_labels)
        return Checkpoint(model, origin, notes=notes, is_inferred=arch is None)
    origin = pretrained.origin_of(found.arch, 1000)
    model = zoo.build(Trusted(str(origin.arch)), 1000)
    fill_network(model, fit.state, source)
    return Checkpoint(model, origin, knows_inputs=True, notes=notes, is_inferred=arch is None)


def _guess_origin(arch: Name, num_labels: int) -> Origin:
    """What is known of a bare state dict: input channels, but not mean and std of its inputs."""
    channels = int(zoo.parse_arch(arch).options.get("in_channels", 3))
    half = (0.5,) * channels
    return Origin(str(arch), num_labels, None, (), (channels, 32, 32), half, half)


def _from_library(spec: str, num_labels: int | None) -> Checkpoint:
    found = pretrained.load_pretrained(Trusted(spec), num_labels)
    return Checkpoint(found.model.eval(), found.origin, knows_inputs=True)
