"""The quick shapes of meta tensors against PyTorch's own meta kernels."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.structure.tracing import meta
from torch import Tensor
from torch.utils._pytree import tree_iter

aten = torch.ops.aten
FLOATS = (torch.float32, torch.float16, torch.float64)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def image() -> Tensor:
    return empty(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)


CASES: list[tuple[Any, list[Any]]] = [
    *((getattr(aten, name).default, [image()]) for name in meta.ACTIVATIONS),
    *((getattr(aten, f"{n}_").default, [image()]) for n in meta.ACTIVATIONS if n != "mish"),
    *((getattr(aten, name).Tensor, [image(), image()]) for name in ("add", "sub", "mul", "div")),
    *((getattr(aten, f"{n}_").Tensor, [image(), image()]) for n in ("add", "sub", "mul", "div")),
    (aten.mul.Tensor, [empty(2, 3, 4), 0.5]),
    (aten.add.Tensor, [empty(2, 3, 4), empty(3, 1)]),
    (aten.native_batch_norm.default, [image(), *[empty(3)] * 4, False, 0.1, 1e-5]),
    (aten.addmm.default, [empty(7), empty(2, 3), empty(3, 7)]),
    (aten.mm.default, [empty(2, 3), empty(7, 3).t()]),
    (aten.bmm.default, [empty(4, 2, 3), empty(4, 7, 3).transpose(1, 2)]),
    (aten.roll.default, [empty(2, 3, 4), [1], [2]]),
    (aten._softmax.default, [empty(2, 3, 4), 1, False]),
    (aten.native_layer_norm.default, [empty(2, 3), [3], empty(3), empty(3), 1e-5]),
    (aten.clamp.default, [empty(2, 3), None, 4.0]),
    (aten.clamp_min.default, [image(), 1e-12]),
    (aten.linalg_vector_norm.default, [empty(2, 3, 4), 2.0, [-1], True]),
    (aten.linalg_vector_norm.default, [empty(2, 3, 4), 2.0, [1]]),
]


def describe(out: Any) -> list[tuple[object, ...]]:
    """What the first result is (others are statistics); the stride of a single position is free."""
    first = next(x for x in tree_iter(out) if isinstance(x, Tensor))
    strides = [step for step, n in zip(first.stride(), first.shape, strict=True) if n > 1]
    return [tuple(first.shape), first.dtype, tuple(strides)]


@pytest.mark.parametrize(("operation", "args"), CASES, ids=lambda case: str(case)[:30])
def test_the_quick_shape_is_the_real_kernels(operation: Any, args: list[Any]) -> None:
    quick = meta.SHAPES[operation.overloadpacket](*args)
    assert quick is not None
    assert describe(quick) == describe(operation(*args))


def test_every_quick_shape_is_held_against_its_kernel() -> None:
    assert {operation.overloadpacket for operation, _ in CASES} == set(meta.SHAPES)


@st.composite
def laid_out(draw: st.DrawFn) -> Tensor:
    """A tensor of up to four axes in any order of memory, some of them expanded."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    order = draw(st.permutations(range(len(sizes))))
    base = empty(*(sizes[axis] for axis in order), dtype=draw(st.sampled_from(FLOATS)))
    shuffled = base.permute([order.index(axis) for axis in range(len(sizes))])
    wide = [3 if n == 1 and draw(st.booleans()) else n for n in sizes]
    return shuffled.expand(wide)


@given(x=laid_out(), y=laid_out(), number=st.sampled_from((None, 2, 0.5)))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_memory_format_and_broadcast_gives_what_the_kernel_gives(
    x: Tensor, y: Tensor, number: float | None
) -> None:
    try:
        torch.broadcast_shapes(x.shape, y.shape)
    except RuntimeError:
        y = x
    right = y if number is None else number
    calls = [
        *((getattr(aten, name).Tensor, (x, right)) for name in ("add", "sub", "mul", "div")),
        *((getattr(aten, name).default, (x,)) for name in ("gelu", "exp")),
        (aten.clamp.default, (x, 0.0)),
        (aten._softmax.default, (x, x.ndim - 1, False)),
        (aten.roll.default, (x, [1], [0])),
        (aten.linalg_vector_norm.default, (x, 2.0, [0], True)),
        (aten.native_layer_norm.default, (x, [x.shape[-1]], None, None, 1e-5)),
    ]
    for operation, args in calls:
        assert describe(meta.run_operation(operation, args, {})) == describe(operation(*args)), (
            operation
        )


def test_what_is_not_the_plain_case_goes_to_the_real_kernel() -> None:
    for operation, args in (
        (aten.addmm.default, (empty(7), empty(2, 4), empty(3, 7))),
        (aten.mm.default, (empty(2, 4), empty(3, 7))),
        (aten.bmm.default, (empty(2, 4, 4), empty(3, 4, 7))),
        (aten.add.Tensor, (empty(2, 4), empty(3))),
        (aten.native_layer_norm.default, (empty(2, 3), [4], empty(4), empty(4), 1e-5)),
    ):
        with pytest.raises(RuntimeError):
            meta.run_operation(operation, args, {})
    whole = meta.run_operation(aten.linalg_vector_norm.default, (empty(2, 3), 2.0, None), {})
    assert whole.shape == ()
    assert (
        meta.run_operation(aten.relu.default, (empty(2, dtype=torch.int64),), {}).dtype
        == torch.int64
    )
