"""A candidate for the architecture of a file, and how far the weights in the file are from it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .callables import Name
from .naming import COUNTERS, Shapes
from .weight_sets import Fit

MARK = 1009
"""Labels of the candidates: a prime that no layer of any of them is wide."""


@dataclass(frozen=True)
class Expected:
    """What a network has: its name, the shapes of its tensors, its first convolution's weight.

    Sizes of `MARK` stand for any number of labels. `first` may have any number of input channels.
    """

    arch: Name
    shapes: Shapes
    first: str


@dataclass(frozen=True)
class Match:
    """A candidate and how far a set of weights is from it.

    Attributes:
        arch: name for `zoo.build`: the user's, or one of the candidates.
        expected: what the candidate has.
        num_labels: width of the output layer in the file; 0 if it could not be read.
        differing: names that are missing, too many or of another shape, in their order.
        found: shapes of the file, under the architecture's names as far as it has them.
        fit: the weights, where nothing differs.
    """

    arch: Name
    expected: Expected
    num_labels: int
    differing: tuple[str, ...]
    found: Shapes
    fit: Fit | None = None


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a state dict, without what networks do not need."""
    return {name: tuple(x.shape) for name, x in state.items() if not name.endswith(COUNTERS)}


def with_sizes(shape: tuple[int, ...], num_labels: int, in_channels: int | None) -> tuple[int, ...]:
    """A shape of a candidate with sizes of `MARK`, and the input channels, as a file has them."""
    filled = tuple(num_labels if size == MARK else size for size in shape)
    return filled if in_channels is None else (filled[0], in_channels, *filled[2:])
