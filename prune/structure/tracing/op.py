"""One operation of a traced forward pass, as the tag rules see it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket

from .stated import Candidate, assignments, candidates_of, matching
from .tags import Fields, Tags, axes_of, lift, same_fields

Rule = Callable[["Op"], "Fields | list[Fields]"]
Sizes = tuple[tuple[int, Fields], ...]
"""Sizes whose product counts the multiply-adds of an operation, each with the tags along it."""
RULES: dict[OpOverloadPacket, Rule] = {}
aten = torch.ops.aten


@dataclass
class Op:
    """An operation with its arguments and result; rules unite tags and give the result's fields.

    Attributes:
        func, args, kwargs, out: the call.
        tags: where unions and pins go.
        get: the fields of a tensor, empty when it carries none.
        path, module: the innermost running module.
        given: tensors that it was called with.
        names: that its code uses, down to the line that issued the operation.
        ties: makes an integer attribute of the module at a path follow these tags, one for each
            unit of its value.
        choice: which of the `num_choices` readings of the operation a rule should take (a split
            axis can shrink in one factor or in another).
        couples: set where other readings couple other positions, so that more may go.
        mixing: filled when a removed channel changes the channels that stay.
        contracted: filled with every tensor that may be a weight, and what it is multiplied with.
        products: filled with the sizes whose product counts its multiply-adds.
    """

    func: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    tags: Tags
    get: Callable[[Tensor], Fields]
    path: str
    module: nn.Module
    given: tuple[Tensor, ...]
    names: frozenset[str]
    ties: Callable[[str, str, Tensor], None]
    choice: int = 0
    num_choices: int = 1
    couples: bool = False
    mixing: list[tuple[str, Tensor]] = field(default_factory=list)
    contracted: list[tuple[Tensor, Tensor, Fields]] = field(default_factory=list)
    products: list["Sizes"] = field(default_factory=list)

    def begin(self, choice: int) -> None:
        """Forget what was read before; the rule is to take this reading."""
        self.choice, self.num_choices, self.couples = choice, 1, False
        self.mixing, self.contracted, self.products = [], [], []

    def arg(self, index: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    def fields(self, index: int = 0) -> Fields:
        """Fields of a tensor argument."""
        return self.get(self.args[index])

    def stated(self, size: int) -> tuple[str, ...]:
        """Integer attributes of the running module that have this value."""
        own = vars(self.module).items()
        return tuple(key for key, value in own if type(value) is int and value == size)

    @property
    def name(self) -> str:
        """Name of the operation without its overload."""
        return str(self.func.overloadpacket.__name__)

    @property
    def where(self) -> str:
        """The running module, for reasons."""
        return self.path or "the network itself"

    def sizes(self, tensor: Tensor, *axes: int) -> "Sizes":
        """Sizes of axes, each with the fields that run along it alone; default: of all axes."""
        found, wanted = self.get(tensor), axes or range(tensor.ndim)
        return tuple(
            (tensor.shape[axis], tuple(x for x in found if axes_of(x) == {axis % tensor.ndim}))
            for axis in wanted
        )

    def tie(self, attribute: str, tags: Tensor) -> None:
        """An integer attribute of the running module follows these tags."""
        self.ties(self.path, attribute, tags)

    def candidates(self, sizes: Sequence[int], index: int) -> tuple[Candidate, ...]:
        """Attributes that the code may have one of the sizes from, the likeliest first."""
        return matching(candidates_of(self.module, self.names), sizes, index)

    def read_as_stated(self, sizes: Sequence[int], index: int, tags: Tensor) -> None:
        """In all readings but the first, an attribute that states a size asked for follows tags."""
        self._read_as(self.candidates(sizes, index), tags)

    def read_whole_as_stated(self, tags: Tensor) -> None:
        """The same for the size of an axis that the code parts: it may ask for what is left."""
        size = tags.numel()
        self._read_as([x for x in self.candidates([size], 0) if x.value == size], tags)

    def _read_as(self, found: Sequence[Candidate], tags: Tensor) -> None:
        """The reading that was chosen takes one of the candidates."""
        self.num_choices = max(self.num_choices, 1 + len(found))
        if found and self.choice:
            self.follow(found[min(self.choice, len(found)) - 1], tags)

    def read_all_as_stated(self, sizes: Sequence[int], tags: Sequence[Tensor]) -> None:
        """The same for several sizes at once: two attributes of one value may state them."""
        found = assignments([self.candidates(sizes, index) for index in range(len(sizes))])
        self.num_choices = max(self.num_choices, 1 + len(found))
        if found and self.choice:
            for candidate, row in zip(found[min(self.choice, len(found)) - 1], tags, strict=True):
                if candidate is not None:
                    self.follow(candidate, row)

    def follow(self, candidate: Candidate, tags: Tensor) -> None:
        """An attribute follows the tags along an axis, of which it is a multiple or fraction."""
        name, value = candidate
        row = tags.reshape(-1)
        if value < row.numel():
            row = self.tags.couple(row.reshape(-1, value), 0).reshape(-1)
        self.tie(name, row.repeat(value // row.numel()))

    def pin(self, tags: Tensor, reason: str) -> None:
        """Nothing that carries these tags can be removed; the reason names this operation."""
        self.tags.pin(tags, f"{reason} ({self.name} in {self.where})")

    def mix(self, tags: Tensor) -> None:
        """Record that removing these tags and silencing them differ after this operation."""
        self.mixing.append((f"{self.where}: {self.name}", tags))

    def merge(self, *operands: Tensor) -> Fields:
        """Unite the fields of operands that are broadcast against each other.

        Those that meet an axis of fixed size are pinned, and end here.
        """
        ndim = max(tensor.ndim for tensor in operands)
        merged: Fields = ()
        for tensor in operands:
            merged = self._meet(merged, tuple(lift(x, ndim) for x in self.get(tensor)))
        fixed = frozenset[int]().union(*(self._constant(tensor, ndim) for tensor in operands))
        stuck = [x for x in merged if axes_of(x) & fixed]
        for found in stuck:
            self.pin(found, "it meets a tensor of fixed size")
        return tuple(x for x in merged if not axes_of(x) & fixed)

    def _meet(self, merged: Fields, fields: Fields) -> Fields:
        """Add the fields of one more operand; fields of one tensor never meet each other."""
        before = merged
        for new in (x for x in fields if axes_of(x)):
            partners = [x for x in before if axes_of(x) & axes_of(new)]
            twin = next((x for x in partners if same_fields((x,), (new,))), None)
            if twin is None:
                merged = self.join(merged, new) if partners else (*merged, new)
        return merged

    def join(self, merged: Fields, new: Tensor) -> Fields:
        """Add a field, uniting it with those that run along the same axes."""
        for position, old in enumerate(merged):
            if axes_of(old) & axes_of(new):
                self.tags.unite(old, new)
                smaller = new if len(axes_of(new)) < len(axes_of(old)) else old
                return (*merged[:position], smaller, *merged[position + 1 :])
        return (*merged, new) if axes_of(new) else merged

    def _constant(self, tensor: Tensor, ndim: int) -> frozenset[int]:
        """Axes of an operand that cannot shrink: what meets them cannot either."""
        own = frozenset[int]().union(*(axes_of(x) for x in self.get(tensor)))
        sizes = enumerate(tensor.shape)
        return frozenset(a + ndim - tensor.ndim for a, n in sizes if n > 1 and a not in own)


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among arguments or results, also those in lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found


def newer(name: str) -> tuple[OpOverloadPacket, ...]:
    """An operation of aten that older releases of torch do not have: none of it there.

    >>> newer("no_such_operation")
    ()
    """
    return (getattr(torch.ops.aten, name),) if hasattr(torch.ops.aten, name) else ()


def rule(*packets: OpOverloadPacket) -> Callable[[Rule], Rule]:
    """Register how tags pass through these operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(packets, function))
        return function

    return register
