"""One real forward pass, seen operation by operation, carrying tags along.

A `TorchDispatchMode` sees every ATen call, whatever Python does between them. Each tensor is
stood for by one without numbers, so that what was recorded costs no memory and can be read again:
where a trial asked for another reading of a line of code, only that line and what follows from it
is. Parameters and buffers start with one fresh field per axis.
"""

from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from . import compute, meta, movement, views  # noqa: F401 (movement registers its rules)
from .kernels import kernels_of
from .layers import OUTPUT
from .op import RULES, Op, Rule, tensors_in
from .recording import Outputs, Record, Recording
from .stack import ModuleStack, Place
from .tags import Fields, axes_of, find, on_axis, same_fields

Readings = tuple[dict[int, int], dict[int, str]]
"""By operation: which reading was taken, where not the first; why all that it touches stays."""
STAND_IN = "_prune_dl_stand_in"
OUTPUTS = -1
"""In place of an operation's number: pins of the network's outputs come from no operation."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries tags through every operation of a forward pass."""

    def __init__(self, model: nn.Module, stack: ModuleStack) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        named = [*model.named_parameters(), *model.named_buffers()]
        kinds = (nn.modules.conv._ConvNd, nn.Linear)
        self._layers = {name for name, x in model.named_modules() if isinstance(x, kinds)}
        self._choices: dict[int, int] = {}
        self._kept: dict[int, str] = {}
        self.stack, self.recording = stack, Recording(modules=stack.ran)
        self._own = {id(stand_in(tensor)): name for name, tensor in named}
        self._fields: dict[int, Fields] = {}
        self._origin: dict[int, str] = {}
        self._outputs: list[Tensor] = []
        self._logits: Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, then its tag rule."""
        kwargs = kwargs or {}
        at = self.stack.position(str(func.overloadpacket.__name__))
        given, named = _stood_in(args), {key: _stood_in(x) for key, x in kwargs.items()}
        out = meta.run_operation(func, args, kwargs)
        numbers = meta.numbers(args, out)
        around = tuple(stand_in(x) for x in tensors_in(at.called_with))
        tags, results = self.recording.tags, _stood_in(out)
        running = (at.place.running.path, at.module, around, at.names)
        op = Op(func, given, named, results, tags, self.fields, *running, self._tie)
        self._trace_origin(op)
        record = self._read(len(self.recording.records), at.place, op, numbers)
        self.recording.records.append(record)
        return out

    def mark_outputs(self, tensors: list[Tensor], free: Tensor | None = None) -> None:
        """These are outputs of the network: they keep their size, but for the columns of `free`."""
        self._outputs += [stand_in(x) for x in tensors if x is not free]
        if free is not None and self._logits is None:
            self._logits = stand_in(free)
        self._pin_outputs()

    @property
    def label_tags(self) -> Tensor | None:
        """Tags of the columns that may go; None where all outputs keep their size."""
        return None if self._logits is None else find(self.fields(self._logits), 1)

    def choice(self, index: int) -> int:
        """Which reading of an operation was taken."""
        return self._choices.get(index, 0)

    def read_again(self, indices: Sequence[int], choice: int, reason: str = "") -> None:
        """Take another reading of operations; what follows from them is read anew.

        Where an operation has no such reading, what it touches is pinned for the reason.
        """
        records = self.recording.records
        self._choices.update(dict.fromkeys(indices, choice))
        self._kept.update({i: reason for i in indices if choice >= records[i].num_choices})
        self._read_from(set(indices))

    @property
    def readings(self) -> Readings:
        """How every operation is read now; `take` comes back to it."""
        return dict(self._choices), dict(self._kept)

    def take(self, readings: Readings) -> None:
        """Read every operation as it was read then."""
        choices, kept = readings
        differ = {i for i in {*choices, *self._choices} if choices.get(i, 0) != self.choice(i)}
        differ |= {i for i in {*kept, *self._kept} if kept.get(i) != self._kept.get(i)}
        self._choices, self._kept = dict(choices), dict(kept)
        self._read_from(differ)

    def _read_from(self, again: Container[int]) -> None:
        """Read these operations again, and what follows from them."""
        records = self.recording.records
        self._fields.clear()
        for index, old in enumerate(records):
            if index in again or not same_fields(self._incoming(old.op), old.inputs):
                records[index] = self._read(index, old.place, old.op, old.numbers, old.outputs)
            else:
                self._carry(old)
        self._pin_outputs()

    def keep(self, indices: Sequence[int], reason: str) -> None:
        """Pin all that operations touch."""
        self._kept.update(dict.fromkeys(indices, reason))
        for index in indices:
            self.recording.tags.resume(index)
            self._pin(self.recording.records[index].inputs, reason)

    def fields(self, tensor: Tensor) -> Fields:
        """The fields a tensor carries; fresh ones for a parameter or buffer seen first."""
        name = self._own.get(id(tensor))
        if name is None:
            return self._fields.get(id(tensor), ())
        if name not in self.recording.tensors:
            sizes = [(axis, size) for axis, size in enumerate(tensor.shape) if size > 1]
            self.recording.tensors[name] = tuple(
                on_axis(self.recording.tags.fresh(size), axis, tensor.ndim) for axis, size in sizes
            )
        return self.recording.tensors[name]

    def _incoming(self, op: Op) -> Fields:
        """Fields of everything that an operation takes."""
        found = [f for x in tensors_in((*op.args, *op.kwargs.values())) for f in self.fields(x)]
        return tuple(dict.fromkeys(found))

    def _read(
        self, index: int, place: Place, op: Op, numbers: tuple[float, ...], before: Outputs = ()
    ) -> Record:
        """Run the tag rule of an operation; what it gave before is dropped."""
        op.begin(self.choice(index))
        self.recording.tags.restart(index)
        inputs = self._incoming(op)
        outputs = _as_before(_outputs(op, self._apply(op, inputs)), before)
        features, mixing = self._features(op), tuple(op.mixing)
        counted = self._layer(op), tuple(op.products), kernels_of(op, self._origin_of)
        record = Record(
            place, op, numbers, inputs, outputs, features, op.num_choices, mixing, *counted
        )
        if index in self._kept:
            self._pin(inputs, self._kept[index])
        self._carry(record)
        return record

    def _carry(self, record: Record) -> None:
        """Give the results of an operation their fields."""
        results = tensors_in((record.op.out,))
        for tensor in results:
            self._fields.pop(id(tensor), None)
        for tensor, (_, fields) in zip(results, record.outputs, strict=False):
            self._fields[id(tensor)] = fields

    def _apply(self, op: Op, inputs: Fields) -> list[Fields]:
        """Fields of each result; an operation without a rule pins all it touches."""
        found = rule_of(op.func)
        reason = f"operation {op.name} in {op.where} is not understood"
        if found is None:
            self._pin(inputs, reason)
            return []
        try:
            passed = found(op)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            self._pin(inputs, reason)
            return []
        return passed if isinstance(passed, list) else [passed]

    def _pin(self, fields: Fields, reason: str) -> None:
        for tags in fields:
            self.recording.tags.pin(tags, reason)

    def _pin_outputs(self) -> None:
        self.recording.tags.restart(OUTPUTS)
        stay = [x for tensor in self._outputs for x in self.fields(tensor)]
        if self._logits is not None:
            stay += [x for x in self.fields(self._logits) if axes_of(x) != {1}]
        self._pin(tuple(stay), OUTPUT)

    def _tie(self, path: str, attribute: str, tags: Tensor) -> None:
        """An integer attribute of a module follows these tags, like a tensor's axis."""
        name = f"{path}.{attribute}".lstrip(".")
        if name not in self.recording.tensors:
            self.recording.tensors[name] = (self.recording.tags.fresh(tags.numel()),)
            self.recording.attributes[name] = tags.numel()
        self.recording.tags.unite(self.recording.tensors[name][0], tags.reshape(-1))

    def _origin_of(self, tensor: Tensor) -> str | None:
        """The parameter a tensor is a view, cast or rescaling of."""
        return self._own.get(id(tensor)) or self._origin.get(id(tensor))

    def _trace_origin(self, op: Op) -> None:
        """A view, cast or rescaling of a weight is still that weight, of its layer."""
        first = op.args[0] if op.args and isinstance(op.args[0], Tensor) else None
        name = None if first is None else self._origin_of(first)
        if first is None or name is None:
            return
        for tensor in tensors_in((op.out,)):
            scaled = torch.Tag.pointwise in op.func.tags and tensor.shape == first.shape
            if op.name in views.KEEPS_ORIGIN or scaled:
                self._origin[id(tensor)] = name

    def _layer(self, op: Op) -> str:
        """The module whose weight an operation takes, or else the one that runs it."""
        named = (self._origin_of(weight) for weight, *_ in op.contracted)
        weight = next((name for name in named if name is not None), None)
        if weight is None:
            return op.path
        owner, _, attribute = weight.rpartition(".")
        return owner if attribute == "weight" and owner in self._layers else weight

    def _features(self, op: Op) -> tuple[str, Tensor] | None:
        """What a linear module reads."""
        for weight, x, fields in op.contracted:
            features = find(fields, x.ndim - 1)
            if features is not None and self._origin_of(weight) == f"{op.path}.weight".lstrip("."):
                return op.path, features.reshape(-1)
        return None


def _outputs(op: Op, passed: list[Fields]) -> Outputs:
    """Shape and fields of the results that a rule describes."""
    pairs = zip(tensors_in((op.out,)), passed, strict=False)
    return tuple((tuple(x.shape), tuple(f for f in found if axes_of(f))) for x, found in pairs)


def _as_before(outputs: Outputs, before: Outputs) -> Outputs:
    """The fields that a result had before, where it has the same again."""
    same = zip(outputs, before, strict=False)
    kept = tuple(old if same_fields(new[1], old[1]) else new for new, old in same)
    return (*kept, *outputs[len(kept) :])


def stand_in(tensor: Tensor) -> Tensor:
    """A tensor without numbers that stands for this one in the records, as it is now."""
    found: Tensor | None = getattr(tensor, STAND_IN, None)
    if found is None or found.shape != tensor.shape:
        found = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        setattr(tensor, STAND_IN, found)
    return found


def _stood_in(value: Any) -> Any:
    """Arguments or results with every tensor stood for."""
    if isinstance(value, Tensor):
        return stand_in(value)
    if type(value) in (list, tuple):
        return type(value)([_stood_in(x) for x in value])
    return value


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
