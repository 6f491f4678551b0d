"""What happens to a layer's answer before anything else reads it: batch norm, residual sum, clamp.

A clamp is ReLU, ReLU6 or hardtanh: it changes nothing between two bounds, and gives a bound
beyond it. Found by watching one forward pass operation by operation. Where an answer is read by
anything else, or goes another way, nothing is said of the layer; where that happens to the sum
alone, no clamp.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..forward import Arguments, call, input_of, watching

Bounds = tuple[float, float]
ANYTHING: Bounds = (-math.inf, math.inf)
"""Bounds of no clamp."""


@dataclass(frozen=True)
class Activation:
    """The way of a layer's answer up to its clamp, or to a residual sum without one.

    Attributes:
        norm: batch norm that reads the answer directly; None for none.
        stream: layer that ran earlier and whose input is added to the answer after its norm, as
            the identity shortcut of a residual block is; None for none.
        bounds: the least and the largest value that the clamp gives.
    """

    norm: str | None = None
    stream: str | None = None
    bounds: Bounds = ANYTHING

    @property
    def clamps(self) -> bool:
        """Whether there is a clamp."""
        return self.bounds != ANYTHING


@dataclass
class _Way:
    """How far an answer has come.

    Attributes:
        tensor: what it is in now; None once it is through.
        total: its sum with the stream; None before that.
        is_shared: the sum is read by something that is no clamp.
        is_lost: nothing can be said of it.
    """

    tensor: Tensor | None
    norm: str | None = None
    stream: str | None = None
    bounds: Bounds = ANYTHING
    total: Tensor | None = None
    is_shared: bool = False
    is_lost: bool = False

    @property
    def activation(self) -> Activation | None:
        """What can be said of it."""
        bounds = ANYTHING if self.is_shared else self.bounds
        if self.is_lost or (self.stream is None and bounds == ANYTHING):
            return None
        return Activation(self.norm, self.stream, bounds)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows answers through the operations of a forward pass. Tensors are told by identity."""

    def __init__(self, norm_behind: Mapping[str, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.norm_behind = norm_behind
        self.ways: dict[str, _Way] = {}
        self.owner: dict[int, str] = {}
        self.given: dict[int, str] = {}
        self.alive: list[Tensor] = []  # an id is unique only while its tensor lives

    def start(self, layer: str, answer: Any) -> None:
        """A layer has answered."""
        if layer in self.ways:
            self.ways[layer].is_lost = True  # it runs more than once
        elif isinstance(answer, Tensor):
            self.ways[layer] = _Way(answer)
            self._own(answer, layer)

    def take(self, layer: str, x: Any) -> None:
        """A layer is about to read x."""
        if isinstance(x, Tensor):
            self.given.setdefault(id(x), layer)
            self.alive.append(x)

    def normed(self, norm: str, x: Any, y: Any) -> None:
        """A batch norm has made y of x."""
        layer = self.owner.get(id(x))
        if layer is not None and self.norm_behind.get(layer) == norm:
            way = self.ways[layer]
            way.tensor, way.norm = y, norm
            self._own(y, layer)

    def _own(self, tensor: Tensor, layer: str) -> None:
        self.owner[id(tensor)] = layer
        self.alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        owned = [(x, self.owner[id(x)]) for x in read if id(x) in self.owner]
        output = func(*args, **(kwargs or {}))
        operation = _Operation.of(func._schema, args, kwargs or {}, output)
        for x, layer in owned:
            self._follow(layer, x, read, operation)
        return output

    def _follow(self, layer: str, x: Tensor, read: list[Tensor], operation: "_Operation") -> None:
        way, output = self.ways[layer], operation.output
        if x is way.tensor and operation.bounds != ANYTHING:
            way.tensor, way.bounds = None, operation.bounds
            if output is x:
                del self.owner[id(x)]  # what reads it now reads what the clamp made of it
        elif x is way.total:
            way.is_shared = True
        elif x is not way.tensor:
            way.is_lost = True
        elif "batch_norm" in operation.name and way.norm is None and layer in self.norm_behind:
            pass  # `normed` follows it
        elif operation.name == "add" and not operation.is_scaled and len(read) == 2:
            other = read[1] if read[0] is x else read[0]
            way.stream, way.tensor, way.total = self.given.get(id(other)), output, output
            way.is_lost = way.is_lost or way.stream is None or other is x
            self._own(output, layer)
        else:
            way.is_lost = True


@dataclass(frozen=True)
class _Operation:
    """One that ran: its name (of its form in place, too), its bounds if it clamps, its output."""

    name: str
    bounds: Bounds
    is_scaled: bool
    output: Any

    @staticmethod
    def of(schema: Any, args: Sequence[Any], named: Mapping[str, Any], output: Any) -> "_Operation":
        """Of a call of an ATen operation."""
        name = schema.name.removeprefix("aten::").rstrip("_")
        stated = {argument.name: argument.default_value for argument in schema.arguments}
        stated |= dict(zip(stated, args, strict=False)) | dict(named)
        return _Operation(name, _bounds_of(name, stated), bool(named), output)


def _bounds_of(operation: str, stated: Mapping[str, Any]) -> Bounds:
    """Between which bounds an operation leaves its input as it is; ANYTHING for no clamp."""
    if operation == "relu":
        return 0.0, math.inf
    if operation not in ("hardtanh", "clamp", "clamp_min"):
        return ANYTHING
    low, high = (stated.get(a, stated.get(b)) for a, b in (("min_val", "min"), ("max_val", "max")))
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return ANYTHING
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def find_activations(
    model: nn.Module, example: Any, layers: Iterable[str], norm_behind: Mapping[str, str]
) -> dict[str, Activation]:
    """Layer -> the way of its answer to a clamp or residual sum, where it goes there directly.

    Args:
        norm_behind: layer -> batch norm that reads its answer (`norms.find_norm_behind`).
    """
    names = list(layers)
    watch = _Watch(norm_behind)

    def before(layer: str, arguments: Arguments, named: dict[str, Any]) -> None:
        watch.take(layer, input_of(arguments, named))

    def after(layer: str, _args: Arguments, _named: dict[str, Any], output: Any) -> None:
        watch.start(layer, output)

    def after_norm(norm: str, arguments: Arguments, named: dict[str, Any], output: Any) -> None:
        watch.normed(norm, input_of(arguments, named), output)

    with (
        watching(model, set(norm_behind.values()), after=after_norm),
        watching(model, names, before=before, after=after),
        watch,
    ):
        call(model, example)
    found = {layer: way.activation for layer, way in watch.ways.items()}
    return {layer: activation for layer, activation in found.items() if activation is not None}
