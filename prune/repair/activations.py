"""What happens to a layer's answer before anything else reads it: batch norm, residual sum, ReLU.

Found by watching one forward pass operation by operation. Where an answer is also read by anything
else, or goes another way, nothing is said of the layer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..forward import Arguments, call, input_of, watching


@dataclass(frozen=True)
class Activation:
    """The way of a layer's answer up to its ReLU.

    Attributes:
        norm: batch norm that reads the answer directly; None for none.
        stream: layer that ran earlier and whose input is added to the answer after its norm, as
            the identity shortcut of a residual block is; None for none.
    """

    norm: str | None = None
    stream: str | None = None


@dataclass
class _Way:
    """How far an answer has come: the tensor it is in now; None once it is through."""

    tensor: Tensor | None
    norm: str | None = None
    stream: str | None = None
    is_rectified: bool = False
    is_lost: bool = False


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
        for x, layer in owned:
            self._follow(layer, x, read, func._schema.name, kwargs or {}, output)
        return output

    def _follow(
        self, layer: str, x: Tensor, read: list[Tensor], name: str, named: Any, output: Any
    ) -> None:
        way = self.ways[layer]
        operation = name.removeprefix("aten::").rstrip("_")
        if x is not way.tensor:
            way.is_lost = True
        elif "batch_norm" in operation and way.norm is None and layer in self.norm_behind:
            pass  # `normed` follows it
        elif operation == "relu":
            way.tensor, way.is_rectified = None, True
            if output is x:
                del self.owner[id(x)]  # what reads it now reads what ReLU made of it
        elif operation == "add" and way.stream is None and not named and len(read) == 2:
            other = read[1] if read[0] is x else read[0]
            way.stream, way.tensor = self.given.get(id(other)), output
            way.is_lost = way.is_lost or way.stream is None or other is x
            self._own(output, layer)
        else:
            way.is_lost = True


def find_activations(
    model: nn.Module, example: Any, layers: Iterable[str], norm_behind: Mapping[str, str]
) -> dict[str, Activation]:
    """Layer -> the way of its answer to a ReLU, for those where it goes there directly.

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
    return {
        layer: Activation(way.norm, way.stream)
        for layer, way in watch.ways.items()
        if way.is_rectified and not way.is_lost
    }
