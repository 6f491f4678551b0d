"""The quick shapes of meta tensors against PyTorch's own meta kernels."""

from typing import Any

import pytest
import torch
from prune_dl.prune.structure import meta
from torch import Tensor

aten = torch.ops.aten


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def image() -> Tensor:
    return empty(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)


CASES: list[tuple[Any, list[Any]]] = [
    (aten.relu.default, [image()]),
    (aten.add.Tensor, [image(), image()]),
    (aten.addmm.default, [empty(7), empty(2, 3), empty(3, 7)]),
    (aten.native_layer_norm.default, [empty(2, 3), [3], empty(3), empty(3), 1e-5]),
    (aten.clamp.default, [empty(2, 3), None, 4.0]),
    (aten.clamp_min.default, [image(), 1e-12]),
    (aten.linalg_vector_norm.default, [empty(2, 3, 4), 2.0, [-1], True]),
    (aten.linalg_vector_norm.default, [empty(2, 3, 4), 2.0, [1]]),
]


def describe(x: Tensor) -> tuple[object, ...]:
    return tuple(x.shape), x.dtype, x.stride()


@pytest.mark.parametrize(("operation", "args"), CASES, ids=lambda case: str(case)[:30])
def test_the_quick_shape_is_the_real_kernels(operation: Any, args: list[Any]) -> None:
    quick, real = meta.SHAPES[operation.overloadpacket](*args), operation(*args)
    first = (quick, real) if isinstance(quick, Tensor) else (quick[0], real[0])
    assert describe(first[0]) == describe(first[1])


def test_what_is_not_the_plain_case_goes_to_the_real_kernel() -> None:
    with pytest.raises(RuntimeError):
        meta.run(aten.addmm.default, (empty(7), empty(2, 4), empty(3, 7)), {})
    whole = meta.run(aten.linalg_vector_norm.default, (empty(2, 3), 2.0, None), {})
    assert whole.shape == ()
    assert meta.run(aten.relu.default, (empty(2, dtype=torch.int64),), {}).dtype == torch.int64
