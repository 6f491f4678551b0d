"""A made-up device: tensors that say they are elsewhere, and hold their values on the CPU.

Inside `Machine` whatever is made on, or moved to, the device is a `Remote` tensor. Every operation
runs on the values, and fails where a real device's would: tensors of two devices in one operation
(a CPU tensor may be an index, or a single number). What crosses is counted: values read by the
host, tensors copied to the host and to the device, and operations that make the host wait because
the size of their result depends on values. Unlike fake tensors these have values, so that whole
stages run as they are; unlike meta tensors they take part in backward passes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.equal.default}
"""The host reads a value, and waits for it."""
WAITS = {
    *(aten.nonzero.default, aten.masked_select.default, aten._unique2.default),
    *(aten.unique_dim.default, aten.bincount.default, aten.repeat_interleave.Tensor),
}
"""The host waits, as it must know how large the result is."""
COPIES = {aten._to_copy.default, aten.copy_.default, aten._copy_from.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXING |= {aten._index_put_impl_.default, aten._unsafe_index.Tensor}
"""May take indices on the CPU, which are copied to the device first."""


class Remote(Tensor):
    """A tensor that says it is on the machine's device."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor, device: torch.device) -> "Remote":
        remote: Remote = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=device,
        )
        remote.values = values
        return remote

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Remote({self.values!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        copied = Remote(
            self.values.detach().clone(memory_format=torch.preserve_format), self.device
        )
        found: Tensor = copied
        if isinstance(self, torch.nn.Parameter):
            found = torch.nn.Parameter(copied, requires_grad=self.requires_grad)
        memo[id(self)] = found
        return found

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        raise RuntimeError(f"{func} on a tensor of a machine that is no longer there")


class _Making(TorchFunctionMode):
    """What passes no dispatcher: `torch.tensor(..., device=...)` makes its values on the CPU and
    moves them, `tolist` copies them to the host."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], Remote):
            return args[0].cpu().tolist()
        device = kwargs.get("device")
        if func not in (torch.tensor, torch.as_tensor) or device is None:
            return func(*args, **kwargs)
        made = func(*args, **{**kwargs, "device": "cpu"})
        return made.to(self.device) if torch.device(device).type == self.device.type else made


class Machine(TorchDispatchMode):
    """The device, for the length of a `with` block.

    Attributes:
        device: as tensors name it.
        crossed: what crossed, by kind: "reads", "waits", "to host", "to device", and
            "waiting copies" of those to the device that the host waits for.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)
        self.crossed: Counter[str] = Counter()
        self._making = _Making(self.device)

    def __enter__(self) -> "Machine":
        self._making.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._making.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        remote = [x for x in tensors if isinstance(x, Remote)]
        local = [x for x in tensors if not isinstance(x, Remote) and x.device.type == "cpu"]
        asked = kwargs.get("device")
        if remote and func not in COPIES:
            self._check(func, args, local)
        if remote:
            self.crossed["reads"] += func in READS
            self.crossed["waits"] += func in WAITS or _has_mask(func, args)
        there = bool(remote) if asked is None else torch.device(asked).type == self.device.type
        if func is aten.copy_.default:
            self._count(isinstance(args[1], Remote), isinstance(args[0], Remote))
        elif func is aten._to_copy.default:
            self._count(bool(remote), there, not kwargs.get("non_blocking"))
        if asked is not None and there:
            kwargs["device"] = torch.device("cpu")
            kwargs.pop("pin_memory", None)
        result = func(*_values(args), **_values(kwargs))
        wrapped = tree_map(lambda x: self._wrap(x, there), result)
        if remote and there:
            return return_and_correct_aliasing(func, args, kwargs, wrapped)
        return wrapped

    def _count(self, from_remote: bool, to_remote: bool, waits: bool = True) -> None:
        self.crossed["to host"] += from_remote and not to_remote
        self.crossed["to device"] += to_remote and not from_remote
        self.crossed["waiting copies"] += to_remote and not from_remote and waits

    def _wrap(self, value: Any, there: bool) -> Any:
        if not there or not isinstance(value, Tensor) or isinstance(value, Remote):
            return value
        return Remote(value, self.device)

    def _check(self, func: Any, args: Any, local: list[Tensor]) -> None:
        if func in INDEXING:
            indices = {id(x) for x in args[1] if x is not None}
            copies = sum(id(x) in indices for x in local)
            self.crossed["to device"] += copies
            self.crossed["waiting copies"] += copies
            local = [x for x in local if id(x) not in indices]
        if mixed := [x for x in local if x.ndim]:
            raise RuntimeError(
                f"Expected all tensors to be on the same device: {func} was given one of shape "
                f"{tuple(mixed[0].shape)} on the CPU and others on {self.device}"
            )


def _has_mask(func: Any, args: Any) -> bool:
    """An index by a mask: how many elements it takes depends on values."""
    if func not in INDEXING:
        return False
    return any(isinstance(x, Remote) and x.dtype == torch.bool for x in args[1])


def _values(arguments: Any) -> Any:
    return tree_map(lambda x: x.values if isinstance(x, Remote) else x, arguments)


def counted(machine: Machine, work: Callable[[], Any]) -> Counter[str]:
    """What crosses while this work is done."""
    before = Counter(machine.crossed)
    work()
    return machine.crossed - before
