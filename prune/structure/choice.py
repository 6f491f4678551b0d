"""Which layers the user wants to stay whole, by name or pattern."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..errors import UsageError
from ..options import SelectOptions

ASKED = "kept whole, as you asked"
"""The reason of a layer that was named."""
NUM_NEAREST = 3
"""Names that are offered in place of one that no layer has."""
NEAR = 0.3
"""Likeness from which on a name is offered (`difflib`: 1 for equal ones). Its default of 0.6 offers
none for "conv1", where the layer is called "layer1.0.conv1"."""


@dataclass(frozen=True)
class Choice:
    """Layers that stay whole.

    Attributes:
        whole: names of layers, or of modules with layers in them, or patterns of `fnmatch`.
        only: the same, of all layers that need not stay whole; empty for all.
    """

    whole: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @staticmethod
    def of(select: SelectOptions) -> "Choice":
        """What the options of a job say."""
        return Choice(select.whole, select.only)

    def stays(self, layer: str) -> bool:
        """Whether a layer is to stay whole.

        >>> choice = Choice(whole=("*.conv2",), only=("layer1",))
        >>> [choice.stays(x) for x in ("layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1")]
        [False, True, True]
        """
        return _named(layer, self.whole) or (bool(self.only) and not _named(layer, self.only))

    def check(self, model: nn.Module) -> None:
        """Refuse names that no layer of the network has.

        Raises:
            UsageError: one has none; the message has the nearest names.
        """
        layers = [n for n, x in model.named_modules() if isinstance(x, _ConvNd | nn.Linear)]
        own = {f"{layer}.weight".lstrip(".") for layer in layers}
        layers += [n for n, x in model.named_parameters() if x.ndim > 1 and n not in own]
        for option, patterns in (("whole", self.whole), ("only", self.only)):
            for pattern in patterns:
                if not any(_named(layer, (pattern,)) for layer in layers):
                    near = get_close_matches(pattern, layers, NUM_NEAREST, NEAR) or layers[:3]
                    raise UsageError(
                        f"`{option}={pattern}` given, which names no layer of this network; "
                        "expected a convolution or linear layer, a module that holds some, or a "
                        f"pattern such as *.conv1; the nearest are {', '.join(near)}"
                    )


def _named(layer: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the layer, or a module that it is in."""
    parts = layer.split(".")
    paths = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return any(fnmatchcase(path, pattern) for pattern in patterns for path in paths)
