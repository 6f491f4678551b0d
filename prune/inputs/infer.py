"""Which architecture a bare state dict belongs to: by names and shapes, nothing is computed.

Every candidate is built once on the meta device, with a number of labels that no other tensor
has, so that the output layer shows itself; then names and shapes are compared as sets.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from ..errors import InputError, UsageError
from . import zoo
from .callables import Name

Shapes = Mapping[str, tuple[int, ...]]

NEAREST = 3
"""Candidates that are named where none fits."""
STRANGE = 0.9
"""With a larger share of tensors that differ, even the nearest candidate is no relation."""
MARK = 1009
"""Labels of the candidates: a prime that no layer of any of them is wide."""
IGNORED = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that serve training from scratch only."""


@dataclass(frozen=True)
class Match:
    """A candidate and how far a state dict is from it.

    Attributes:
        arch: name for `zoo.build`: the user's, or one of the candidates.
        num_labels: width of the output layer in the file; 0 if it could not be read.
        differing: names that are missing, too many or of another shape, in their order.
    """

    arch: Name
    num_labels: int
    differing: tuple[str, ...]


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a state dict, without what networks do not need."""
    return {
        name: tuple(value.shape)
        for name, value in state.items()
        if not name.startswith(IGNORED) and not name.endswith("num_batches_tracked")
    }


def infer(state: Mapping[str, torch.Tensor], source: str, arch: Name | None) -> Match:
    """The one architecture whose names and shapes are those of the state dict.

    Args:
        state: a state dict, prefixes removed.
        source: the file, for messages.
        arch: the user's choice; None tries the zoo and every torchvision classifier.

    Raises:
        InputError: none fits; the message names the nearest candidates and what differs.
        UsageError: several fit, and `arch` must decide.
    """
    shapes = shapes_of(state)
    if arch is not None:
        match = compare_shapes(shapes, arch)
        if match.differing:
            raise InputError(
                f"{source} is not a {arch}: {_describe(match, shapes)}; give its own `arch`"
            )
        return match
    matches = [compare_shapes(shapes, name) for name in _candidates(shapes)]
    fitting = [match for match in matches if not match.differing]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(str(match.arch) for match in fitting)
        raise UsageError(f"{source} fits several architectures ({names}); choose one with `arch`")
    raise InputError(_nothing_fits(source, shapes))


def compare_shapes(shapes: Shapes, arch: Name) -> Match:
    """Names and shapes of a file against those of an architecture.

    The output layer may have any number of labels, and a zoo network's first layer any number
    of input channels.
    """
    expected, first = _expected(arch)
    num_labels, in_channels = _read_free(shapes, expected, first)
    differing = [
        name
        for name, shape in expected.items()
        if shapes.get(name) != _fill(shape, num_labels, in_channels if name == first else None)
    ]
    differing += [name for name in shapes if name not in expected]
    if in_channels is not None and not differing:
        arch = zoo.with_channels(arch, in_channels)
    return Match(arch, num_labels, tuple(differing))


def _read_free(shapes: Shapes, expected: Shapes, first: str) -> tuple[int, int | None]:
    """Number of labels and, where it is not the candidate's own, of input channels."""
    widths = {
        shapes[name][0] for name, shape in expected.items() if MARK in shape and shapes.get(name)
    }
    own, found = expected.get(first, ()), shapes.get(first, ())
    differs = len(own) == len(found) == 4 and own[1] != found[1]
    return (widths.pop() if len(widths) == 1 else 0), (found[1] if differs else None)


def _fill(shape: tuple[int, ...], num_labels: int, in_channels: int | None) -> tuple[int, ...]:
    filled = tuple(num_labels if size == MARK else size for size in shape)
    return filled if in_channels is None else (filled[0], in_channels, *filled[2:])


@cache
def _expected(arch: Name) -> tuple[dict[str, tuple[int, ...]], str]:
    """Shapes of an architecture, and the name of its first convolution's weight."""
    with warnings.catch_warnings():
        # Some constructors announce changes of their defaults; only shapes are read here.
        warnings.simplefilter("ignore")
        network = zoo.build_empty(arch, MARK)
    shapes = shapes_of(network.state_dict())
    first = next((name for name, shape in shapes.items() if len(shape) == 4), "")
    return shapes, first


def _all_names() -> Iterator[str]:
    yield from zoo.ZOO_NAMES
    for name in zoo.torchvision_names():
        yield f"torchvision:{name}"


def _candidates(shapes: Shapes) -> list[str]:
    """Names worth building: the first letters of torchvision's families tell most of them apart."""
    return [name for name in _all_names() if _family_key(name) in (None, *shapes)]


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


def _nothing_fits(source: str, shapes: Shapes) -> str:
    kind = guess_kind(shapes)
    if kind:
        return (
            f"{source} looks like {kind}; expected an image classifier: a zoo or torchvision "
            "network, or name your own with `arch=package.module:callable`"
        )
    names = _candidates(shapes)
    matches = sorted(
        (compare_shapes(shapes, name) for name in names), key=lambda m: len(m.differing)
    )
    near = matches[:NEAREST]
    if len(near[0].differing) > STRANGE * len(_expected(near[0].arch)[0]):
        return (
            f"{source} fits no zoo or torchvision classifier; even against the nearest, "
            f"{near[0].arch}: {_describe(near[0], shapes)}; "
            "name its architecture with `arch=package.module:callable`"
        )
    listed = ", ".join(f"{match.arch} ({len(match.differing)} tensors differ)" for match in near)
    return (
        f"{source} fits no known architecture; nearest: {listed}; against {near[0].arch}: "
        f"{_describe(near[0], shapes)}; name it with `arch`"
    )


def _describe(match: Match, shapes: Shapes) -> str:
    """The first three differences in words."""
    expected, _ = _expected(match.arch)
    told = []
    for name in match.differing[:3]:
        if name not in shapes:
            told.append(f"{name} is missing")
        elif name not in expected:
            told.append(f"{name} is not part of it")
        else:
            wanted = _fill(expected[name], match.num_labels, None)
            told.append(f"{name} is {_write(shapes[name])} instead of {_write(wanted)}")
    more = len(match.differing) - len(told)
    return ", ".join(told) + (f", and {more} more" if more > 0 else "")


def _write(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def guess_kind(shapes: Shapes) -> str | None:
    """What a state dict looks like when it is no classifier of images."""
    names = " ".join(shapes)
    for telltales, kind in OTHER_KINDS:
        if any(word in names for word in telltales):
            return kind
    return None


OTHER_KINDS: Sequence[tuple[tuple[str, ...], str]] = (
    (("roi_heads.", "rpn.", "bbox", "anchor", ".dfl."), "a detector"),
    (
        ("embed_tokens", "lm_head", "wte.weight", "word_embeddings", "self_attn.q_proj"),
        "a language model",
    ),
    (("unet.", "time_embed", "down_blocks."), "a diffusion model"),
    (("aux_classifier.", "decode_head."), "a segmentation network"),
)
