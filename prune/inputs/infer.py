"""Which architecture a bare state dict belongs to: by names and shapes, nothing is computed.

Every candidate is built once on the meta device, with a number of labels that no other tensor
has, so that the output layer shows itself; then names and shapes are compared as sets.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor, nn

from ..errors import InputError, UsageError
from . import zoo
from .callables import Name
from .matches import MARK, Expected, Match, shapes_of, with_sizes
from .misfit import why_not, why_nothing_fits
from .naming import COUNTERS, FileNames, Naming, Shapes, split_surplus
from .weight_sets import Fit, WeightSet


@dataclass(frozen=True)
class Recognised:
    """An architecture and every set of weights in a file that is whole for it."""

    arch: Name
    num_labels: int
    fits: tuple[Fit, ...]


def infer(sets: Sequence[WeightSet], source: str, arch: Name | None) -> Recognised:
    """The one architecture whose names and shapes are those of a file's weights.

    Args:
        sets: what the file holds, names as they are.
        source: the file, for messages.
        arch: the user's choice; None tries the zoo and every torchvision classifier.

    Raises:
        InputError: none fits; the message names the nearest candidates and what differs.
        UsageError: several fit, and `arch` must decide.
    """
    named = [(one, FileNames(shapes_of(one.tensors))) for one in sets]
    matches = [
        match
        for one, names in named
        for name in ([arch] if arch is not None else _candidates(names))
        for match in compare_names(one, names, expect(name))
    ]
    return _decide(matches, sets, source, is_named=arch is not None)


def infer_for(model: nn.Module, name: str, sets: Sequence[WeightSet], source: str) -> Recognised:
    """The sets of weights in a file that are whole for a network that is built already.

    Raises:
        InputError: none is.
    """
    expected = Expected(name, shapes_of(model.state_dict()), "")
    matches = [
        match
        for one in sets
        for match in compare_names(one, FileNames(shapes_of(one.tensors)), expected)
    ]
    return _decide(matches, sets, source, is_named=True)


def _decide(
    matches: Sequence[Match], sets: Sequence[WeightSet], source: str, *, is_named: bool
) -> Recognised:
    fitting = [match for match in matches if match.fit is not None]
    archs = {str(match.arch): match for match in fitting}
    if len(archs) == 1:
        fits = tuple(match.fit for match in fitting if match.fit is not None)
        return Recognised(fitting[0].arch, fitting[0].num_labels, fits)
    if archs:
        raise UsageError(
            f"{source} fits several architectures ({', '.join(archs)}); choose one with `arch`"
        )
    if not is_named:
        raise InputError(why_nothing_fits(source, sets[0], matches))
    raise InputError(why_not(source, min(matches, key=lambda match: len(match.differing))))


def compare_names(one: WeightSet, names: FileNames, expected: Expected) -> list[Match]:
    """A set of weights against an architecture: a match for every way to find its names.

    The output layer may have any number of labels, and a zoo network's first layer any number
    of input channels.
    """
    namings = names.namings(expected.shapes) or [Naming({}, "")]
    whole = [
        naming
        for naming in namings
        if not _wrong(naming, names.shapes, expected) and not naming.is_exceeded(names.shapes)
    ]
    taken = {found for naming in whole for found in naming.names.values()}
    return [_match(one, names.shapes, expected, naming, taken) for naming in namings]


def _view(naming: Naming, shapes: Shapes) -> Shapes:
    """Shapes of the file under the architecture's names."""
    return {name: shapes[found] for name, found in naming.names.items()}


def _wrong(naming: Naming, shapes: Shapes, expected: Expected) -> list[str]:
    """Names of the architecture that are missing or of another shape."""
    view = _view(naming, shapes)
    num_labels, in_channels = _read_free(view, expected.shapes, expected.first)
    return [
        name
        for name, shape in expected.shapes.items()
        if view.get(name)
        != with_sizes(shape, num_labels, in_channels if name == expected.first else None)
    ]


def _match(
    one: WeightSet, shapes: Shapes, expected: Expected, naming: Naming, taken: set[str]
) -> Match:
    """Args: taken: names of the file that are in a set of weights that is whole."""
    own = taken | set(naming.names.values())
    surplus = [name for name in shapes if name not in own]
    against, beside = split_surplus(surplus, expected.shapes, naming, shapes)
    view = _view(naming, shapes)
    num_labels, in_channels = _read_free(view, expected.shapes, expected.first)
    inner = {name: name.removeprefix(naming.prefix or "") for name in surplus}
    differing = (*_wrong(naming, shapes, expected), *(inner[name] for name in against))
    found = {inner[name]: shapes[name] for name in surplus} | dict(view)
    arch = expected.arch
    if differing:
        return Match(arch, expected, num_labels, differing, found)
    if in_channels is not None:
        arch = zoo.with_channels(arch, in_channels)
    fit = Fit(one, naming.prefix, _state(one.tensors, naming), tuple(beside))
    return Match(arch, expected, num_labels, (), found, fit)


def _state(tensors: Mapping[str, Tensor], naming: Naming) -> dict[str, Tensor]:
    """The tensors under the architecture's names, with the counters of its norms."""
    state = {name: tensors[found] for name, found in naming.names.items()}
    for name, found in naming.names.items():
        owner, _, tensor = name.rpartition(".")
        counter = f"{found.rpartition('.')[0]}.{COUNTERS}".removeprefix(".")
        if tensor == "running_mean" and counter in tensors:
            state[f"{owner}.{COUNTERS}".removeprefix(".")] = tensors[counter]
    return state


def _read_free(shapes: Shapes, expected: Shapes, first: str) -> tuple[int, int | None]:
    """Number of labels and, where it is not the candidate's own, of input channels."""
    widths = {
        shapes[name][0] for name, shape in expected.items() if MARK in shape and shapes.get(name)
    }
    own, found = expected.get(first, ()), shapes.get(first, ())
    differs = len(own) == len(found) == 4 and own[1] != found[1]
    return (widths.pop() if len(widths) == 1 else 0), (found[1] if differs else None)


@cache
def expect(arch: Name) -> Expected:
    """What a network of that architecture has; it is built without memory for its weights."""
    with warnings.catch_warnings():
        # Some constructors announce changes of their defaults; only shapes are read here.
        warnings.simplefilter("ignore")
        network = zoo.build_empty(arch, MARK)
    shapes = shapes_of(network.state_dict())
    first = next((name for name, shape in shapes.items() if len(shape) == 4), "")
    return Expected(arch, shapes, first)


def _all_names() -> Iterator[str]:
    yield from zoo.ZOO_NAMES
    for name in zoo.torchvision_names():
        yield f"torchvision:{name}"


def _candidates(names: FileNames) -> list[str]:
    """Names worth building: a tensor of each of torchvision's families tells most of them."""
    here = {key for _, key in FAMILY_KEYS if names.has(key)}
    return [name for name in _all_names() if _family_key(name) in (None, *here)]


def _family_key(name: str) -> str | None:
    """A tensor that every member of a torchvision family has; None where it must be built."""
    if not name.startswith("torchvision:"):
        return None
    family = name.removeprefix("torchvision:")
    return next((key for prefix, key in FAMILY_KEYS if family.startswith(prefix)), None)


FAMILY_KEYS: Sequence[tuple[str, str]] = (
    ("resnet", "layer1.0.conv1.weight"),
    ("resnext", "layer1.0.conv1.weight"),
    ("wide_resnet", "layer1.0.conv1.weight"),
    ("vgg", "classifier.6.weight"),
    ("densenet", "features.denseblock1.denselayer1.norm1.weight"),
    ("efficientnet", "features.1.0.block.0.0.weight"),
    ("regnet", "trunk_output.block1.block1-0.proj.0.weight"),
    ("vit", "class_token"),
    ("swin", "features.0.0.weight"),
    ("maxvit", "stem.0.0.weight"),
    ("convnext", "features.1.0.layer_scale"),
    ("mobilenet", "features.0.0.weight"),
    ("mnasnet", "layers.0.weight"),
    ("shufflenet", "conv1.0.weight"),
    ("squeezenet", "features.3.squeeze.weight"),
    ("googlenet", "inception3a.branch1.conv.weight"),
    ("inception", "Conv2d_1a_3x3.conv.weight"),
    ("alexnet", "classifier.6.weight"),
)
"""Saves building most candidates (all 80 take about ten seconds); a test holds every entry."""
