"""What a forward pass shows about channels: every operation, and the tags it passed on."""

from dataclasses import dataclass, field

from torch import Tensor

from .kernels import Kernel
from .op import Op, Sizes
from .stack import Place
from .tags import Fields, Tags

Outputs = tuple[tuple[tuple[int, ...], Fields], ...]
"""Shape and fields of each result of an operation."""


@dataclass(frozen=True)
class Record:
    """One operation: what it was, what it touched, and the fields it gave its results.

    Attributes:
        place: where it was issued.
        op: the operation, on tensors without numbers, so that its rule can be read again.
        numbers: floats that the code handed to it (the scale of attention).
        inputs: fields it touched.
        outputs: shape and fields of the results that its rule describes.
        features: path of a linear module and the tags of its input features, if it is one.
        num_choices: how many readings its rule has.
        mixing: places where a removed channel changes the others, and the tags of its channels.
        layer: the module whose weight it takes, or else the one that runs it.
        products: sizes whose products count its multiply-adds.
        kernels: parameters that it multiplies.
    """

    place: Place
    op: Op
    numbers: tuple[float, ...]
    inputs: Fields
    outputs: Outputs
    features: tuple[str, Tensor] | None
    num_choices: int
    mixing: tuple[tuple[str, Tensor], ...]
    layer: str
    products: tuple[Sizes, ...]
    kernels: tuple[Kernel, ...]

    @property
    def touched(self) -> Fields:
        """Fields of what it took and of what it gave."""
        return (*self.inputs, *(x for _, fields in self.outputs for x in fields))


@dataclass
class Recording:
    """Everything a forward pass shows about channels.

    Attributes:
        tags: unions and pins.
        records: operations in order.
        tensors: parameter or buffer name -> its fields, one per axis of more than one position; an
            integer attribute that states a size (`num_heads`) has one field of that many tags.
        attributes: the integer attributes among them, and their values.
        modules: module paths in order of their first run.
        num_counted: how many of the records are a forward pass of evaluation; those after them are
            of training, and count for nothing.
    """

    tags: Tags = field(default_factory=Tags)
    records: list[Record] = field(default_factory=list)
    tensors: dict[str, Fields] = field(default_factory=dict)
    attributes: dict[str, int] = field(default_factory=dict)
    modules: dict[str, None] = field(default_factory=dict)
    num_counted: int | None = None

    @property
    def features(self) -> dict[str, Tensor]:
        """Module path -> tags of its input features at its first run (linear layers)."""
        found: dict[str, Tensor] = {}
        for record in self.records:
            if record.features is not None:
                found.setdefault(*record.features)
        return found

    @property
    def kernels(self) -> list[Kernel]:
        """Parameters that are multiplied, in execution order."""
        return [kernel for record in self.records for kernel in record.kernels]

    @property
    def mixing(self) -> list[tuple[str, Tensor]]:
        """Places where a removed channel changes the others, in execution order."""
        return [place for record in self.records for place in record.mixing]
