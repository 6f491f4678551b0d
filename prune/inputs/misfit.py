"""Why no known architecture, or not the one that was named, is that of a file: in words."""

from collections.abc import Sequence

from .matches import Match, shapes_of, with_sizes
from .naming import Shapes
from .weight_sets import WeightSet

NEAREST = 3
"""Candidates that are named where none fits."""
STRANGE = 0.9
"""With a larger share of tensors that differ, even the nearest candidate is no relation."""


def why_nothing_fits(source: str, largest: WeightSet, matches: Sequence[Match]) -> str:
    """Why a file fits no candidate: what it looks like, or the nearest and what differs."""
    kind = guess_kind(shapes_of(largest.tensors))
    if kind:
        return (
            f"{source} looks like {kind}; expected an image classifier: a zoo or torchvision "
            "network, or name your own with `arch=package.module:callable`"
        )
    near = _nearest(matches)
    if len(near[0].differing) > STRANGE * len(near[0].expected.shapes):
        return (
            f"{source} fits no zoo or torchvision classifier; even against the nearest, "
            f"{near[0].arch}: {_describe(near[0])}; "
            "name its architecture with `arch=package.module:callable`"
        )
    listed = ", ".join(f"{match.arch} ({len(match.differing)} tensors differ)" for match in near)
    return (
        f"{source} fits no known architecture; nearest: {listed}; against {near[0].arch}: "
        f"{_describe(near[0])}; name it with `arch`"
    )


def _nearest(matches: Sequence[Match]) -> list[Match]:
    """The nearest candidates, each once."""
    ordered = sorted(matches, key=lambda match: len(match.differing))
    once = {str(match.arch): match for match in reversed(ordered)}
    return sorted(once.values(), key=lambda match: len(match.differing))[:NEAREST]


def why_not(source: str, match: Match) -> str:
    """Why a file is not of the architecture that it should be."""
    expected = match.expected.shapes
    if any(name in expected for name in match.differing):
        return f"{source} is not a {match.arch}: {_describe(match)}; give its own `arch`"
    return (
        f"{source} holds more layers than a {match.arch}: {_describe(match)}; "
        "give its own `arch`, or save the state dict of this network alone"
    )


def _describe(match: Match) -> str:
    """The first three differences in words."""
    expected = match.expected.shapes
    told = []
    for name in match.differing[:3]:
        if name not in match.found:
            told.append(f"{name} is missing")
        elif name not in expected:
            told.append(f"{name} is not part of it")
        else:
            wanted = with_sizes(expected[name], match.num_labels, None)
            told.append(f"{name} is {_write(match.found[name])} instead of {_write(wanted)}")
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
