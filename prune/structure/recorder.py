"""One real forward pass, seen operation by operation, with labels riding along.

A `TorchDispatchMode` sees every ATen call, whatever Python does between them. Each tensor that is
alive carries its fields as an attribute; parameters and buffers start with one fresh field per
axis.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from . import compute, meta, movement, views  # noqa: F401 (movement registers its rules)
from .labels import Fields, Labels, axes_of, find, on_axis
from .op import RULES, Op, Rule

Site = tuple[str, int, str]
"""Class of the innermost module, position among its own operations, operation: the same line of
code in every instance of a class."""

FIELDS, ORIGIN = "_prune_dl_fields", "_prune_dl_origin"


@dataclass(frozen=True)
class Record:
    """One operation: what it was, what it touched, and the fields it gave its results."""

    site: Site
    where: str
    inputs: Fields
    outputs: tuple[tuple[tuple[int, ...], Fields], ...]
    num_choices: int
    numbers: tuple[float, ...]


@dataclass
class Recording:
    """Everything a forward pass taught about channels.

    Attributes:
        labels: unions and pins.
        records: operations in order.
        tensors: parameter or buffer name -> its fields, one per axis of more than one position; an
            integer attribute that states a size (`num_heads`) has one field of that many labels.
        modules: module paths in order of their first run.
        positions: weight name -> how often each element is used, over the whole batch.
        features: module path -> labels of its input features at its first run (linear layers).
        mixing: places where a removed channel changes the others, and the labels of its channels.
    """

    labels: Labels = field(default_factory=Labels)
    records: list[Record] = field(default_factory=list)
    tensors: dict[str, Fields] = field(default_factory=dict)
    modules: dict[str, None] = field(default_factory=dict)
    positions: dict[str, float] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)
    mixing: list[tuple[str, Tensor]] = field(default_factory=list)


class ModuleStack:
    """Which module is running, and how many operations it has issued itself."""

    def __init__(self, model: nn.Module) -> None:
        self.name_of = {id(module): name for name, module in model.named_modules()}
        self.frames: list[tuple[str, str]] = []
        self.running: list[nn.Module] = [model]
        self.counts: list[int] = []
        self.ran: dict[str, None] = {}

    def enter(self, module: nn.Module, _args: Any) -> None:
        """A module of the traced network starts."""
        if id(module) in self.name_of:
            self.frames.append((self.name_of[id(module)], type(module).__qualname__))
            self.counts.append(0)
            self.running.append(module)
            self.ran.setdefault(self.frames[-1][0])

    def leave(self, module: nn.Module, _args: Any, _out: Any) -> None:
        """It ends."""
        if id(module) in self.name_of:
            self.frames.pop()
            self.running.pop()
            self.counts.pop()

    def place(self, name: str) -> tuple[Site, str]:
        """Site and module path of the operation that is being issued."""
        where, kind = self.frames[-1] if self.frames else ("", "")
        count = self.counts[-1] if self.counts else 0
        if self.counts:
            self.counts[-1] += 1
        return (kind, count, name), where or "the network itself"

    @contextmanager
    def following(self) -> Iterator[None]:
        """Hooks that follow the running module; gone afterwards, whatever happened."""
        hooks = [
            register_module_forward_pre_hook(self.enter),
            register_module_forward_hook(self.leave),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Passes labels through every operation of a forward pass."""

    def __init__(
        self,
        model: nn.Module,
        stack: ModuleStack,
        recording: Recording,
        choices: Mapping[Site, int],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        named = [*model.named_parameters(), *model.named_buffers()]
        self.own = {id(tensor): name for name, tensor in named}
        self.sizes = {name: tensor.numel() for name, tensor in named}
        self.stack, self.recording, self.choices = stack, recording, choices

    def fields(self, tensor: Tensor) -> Fields:
        """The fields a tensor carries; fresh ones for a parameter or buffer seen first."""
        name = self.own.get(id(tensor))
        if name is None:
            labels, found = getattr(tensor, FIELDS, (None, ()))
            return found if labels is self.recording.labels else ()
        if name not in self.recording.tensors:
            sizes = [(axis, size) for axis, size in enumerate(tensor.shape) if size > 1]
            self.recording.tensors[name] = tuple(
                on_axis(self.recording.labels.fresh(size), axis, tensor.ndim)
                for axis, size in sizes
            )
        return self.recording.tensors[name]

    def _tie(self, attribute: str, labels: Tensor) -> None:
        """The running module's integer attribute follows these labels, like a tensor's axis."""
        path = self.stack.frames[-1][0] if self.stack.frames else ""
        name = f"{path}.{attribute}".lstrip(".")
        if name not in self.recording.tensors:
            self.recording.tensors[name] = (self.recording.labels.fresh(labels.numel()),)
        self.recording.labels.unite(self.recording.tensors[name][0], labels.reshape(-1))

    def origin(self, tensor: Tensor) -> str | None:
        """The parameter a tensor is a view, cast or rescaling of."""
        name: str | None = self.own.get(id(tensor)) or getattr(tensor, ORIGIN, None)
        return name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, then its label rule."""
        kwargs = kwargs or {}
        site, where = self.stack.place(str(func.overloadpacket.__name__))
        inputs = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
        fields_in = tuple(dict.fromkeys(f for x in inputs for f in self.fields(x)))
        shapes = [tuple(x.shape) for x in inputs]
        out = meta.run(func, args, kwargs)
        if shapes != [tuple(x.shape) for x in inputs]:
            self._pin_all(fields_in, where, func)
            return out
        module, labels = self.stack.running[-1], self.recording.labels
        op = Op(func, args, kwargs, out, labels, self.fields, where, module, self._tie)
        op.choice = min(self.choices.get(site, 0), 99)
        fields_out = self._apply(op, inputs, fields_in)
        self._attach(op, fields_out, site, fields_in)
        return out

    def _apply(self, op: Op, inputs: list[Tensor], fields_in: Fields) -> list[Fields]:
        """Fields of each result; an operation without a rule pins all it touches."""
        found = rule_of(op.func)
        if found is None:
            if fields_in:
                self._pin_all(fields_in, op.where, op.func)
            return []
        try:
            passed = found(op)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            self._pin_all(fields_in, op.where, op.func)
            return []
        return passed if isinstance(passed, list) else [passed]

    def _pin_all(self, fields: Fields, where: str, func: Any) -> None:
        for labels in fields:
            name = func.overloadpacket.__name__
            self.recording.labels.pin(labels, f"operation {name} in {where} is not understood")

    def _attach(self, op: Op, fields: list[Fields], site: Site, fields_in: Fields) -> None:
        """Give the results their fields and write the operation down."""
        results = [x for x in tree_iter(op.out) if isinstance(x, Tensor)]
        outputs = []
        for index, tensor in enumerate(results):
            carried = fields[index] if index < len(fields) else ()
            if id(tensor) not in self.own:
                carried = tuple(x for x in carried if axes_of(x))
                setattr(tensor, FIELDS, (self.recording.labels, carried))
            if index < len(fields):
                outputs.append((tuple(tensor.shape), carried))
        self._trace_origin(op, results)
        self._count(op)
        numbers = meta.numbers(op.args, results)
        record = Record(site, op.where, fields_in, tuple(outputs), op.num_choices, numbers)
        if self.choices.get(site, 0) >= op.num_choices:
            for labels in fields_in:
                self.recording.labels.pin(labels, hard_coded(record))
        self.recording.records.append(record)
        self.recording.mixing += op.mixing

    def _trace_origin(self, op: Op, results: list[Tensor]) -> None:
        """A view, cast or rescaling of a weight is still that weight when MACs are counted."""
        first = op.args[0] if op.args and isinstance(op.args[0], Tensor) else None
        name = None if first is None else self.origin(first)
        if first is None or name is None:
            return
        for tensor in results:
            scaled = torch.Tag.pointwise in op.func.tags and tensor.shape == first.shape
            if id(tensor) not in self.own and (op.name in views.KEEPS_ORIGIN or scaled):
                setattr(tensor, ORIGIN, name)

    def _count(self, op: Op) -> None:
        """Multiply-adds of each weight element, and what a linear module reads."""
        for weight, x, fields, positions in op.contracted:
            name = self.origin(weight)
            if name is None:
                continue
            share = weight.numel() / self.sizes[name]
            counted = self.recording.positions.get(name, 0.0)
            self.recording.positions[name] = counted + positions * share
            features = find(fields, x.ndim - 1)
            module = self.stack.frames[-1][0] if self.stack.frames else ""
            if features is not None and name == f"{module}.weight".lstrip("."):
                self.recording.features.setdefault(module, features.reshape(-1))


def rule_of(func: Any) -> Rule | None:
    """The rule of an operation, of its out-of-place twin, or of pointwise operations."""
    packet = func.overloadpacket
    name = str(packet.__name__)
    found = RULES.get(packet)
    if found is None and name.endswith("_") and hasattr(torch.ops.aten, name[:-1]):
        found = RULES.get(getattr(torch.ops.aten, name[:-1]))
    if found is None and torch.Tag.pointwise in func.tags:
        return compute.pointwise
    return found


def hard_coded(record: Record) -> str:
    """The reason given for what a failed trial run pinned."""
    kind, _, name = record.site
    return f"the code of {kind or 'the network'} ({record.where}) fixes its size: {name}"
