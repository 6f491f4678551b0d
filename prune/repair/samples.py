"""Inputs and outputs of a layer at sampled positions, as rows of two matrices.

Shapes: N images of a batch, P positions of a layer's output, S of them sampled, R = N * S rows,
F inputs of one output (channels of all convolution groups times kernel taps), O outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..forward import Arguments, call, input_of, watching
from ..inputs.split import Inputs

PATCH_BYTES = 64 * 2**20
"""Patches that are written out at once. Memory only."""
SEED_FACTOR = 1_000_003
"""Keeps the positions of two seeds apart: a prime above any number of batches."""

OnCall = Callable[[str, Tensor, Tensor], None]


class _Reached(Exception):
    """The layer has been reached; the rest of the network is not needed."""


def can_sample(module: nn.Module) -> str:
    """Why a layer's inputs cannot be written as rows; empty where they can."""
    if isinstance(module, nn.Linear):
        return ""
    if not isinstance(module, nn.Conv2d):
        return f"a {type(module).__name__} is not refitted"
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return f"padding {module.padding_mode} {module.padding} is not refitted"
    return ""


def count_positions(module: nn.Module, outputs: Tensor) -> int:
    """P: positions of the layer's output, in one image."""
    if isinstance(module, nn.Conv2d):
        return outputs.shape[-1] * outputs.shape[-2]
    return max(1, outputs[0].numel() // outputs.shape[-1])


def choose_positions(num_positions: int, num_sampled: int, seed: tuple[int, int]) -> Tensor:
    """Positions (S,) that one batch is sampled at, ascending, drawn from the seed."""
    if num_sampled >= num_positions:
        return torch.arange(num_positions)
    randomness = torch.Generator().manual_seed(seed[0] * SEED_FACTOR + seed[1])
    return torch.randperm(num_positions, generator=randomness)[:num_sampled].sort().values


def input_rows(module: nn.Module, x: Tensor, positions_S: Tensor) -> Iterator[Tensor]:
    """Inputs of the layer's outputs at these positions: (rows, F) float32, a part at a time.

    Inputs of a convolution are sorted by channel, then by kernel tap, as its weight is.
    """
    positions_S = positions_S.to(x.device)
    if not isinstance(module, nn.Conv2d):
        yield x.reshape(len(x), -1, x.shape[-1])[:, positions_S].flatten(0, 1).float()
        return
    places_ST = _places(module, x, positions_S)
    size = 4 * places_ST.numel() * x.shape[1]
    across, down = int(module.padding[1]), int(module.padding[0])
    for part in torch.split(x, max(1, PATCH_BYTES // size)):
        lines_NCQ = functional.pad(part.float(), (across, across, down, down)).flatten(2)
        yield lines_NCQ[:, :, places_ST].transpose(1, 2).flatten(2).flatten(0, 1)


def _places(module: nn.Conv2d, x: Tensor, positions_S: Tensor) -> Tensor:
    """Where on the padded map each kernel tap of each position looks: (S, taps)."""
    assert not isinstance(module.padding, str), "can_sample lets no such layer through"
    width = x.shape[3] + 2 * module.padding[1]
    reach = module.dilation[1] * (module.kernel_size[1] - 1)
    columns = (width - reach - 1) // module.stride[1] + 1
    row_S, column_S = positions_S // columns, positions_S % columns
    start_S = row_S * module.stride[0] * width + column_S * module.stride[1]
    row_T = torch.arange(module.kernel_size[0], device=x.device) * module.dilation[0]
    column_T = torch.arange(module.kernel_size[1], device=x.device) * module.dilation[1]
    taps = (row_T[:, None] * width + column_T).flatten()
    return start_S[:, None] + taps


def output_rows(module: nn.Module, y: Tensor, positions_S: Tensor) -> Tensor:
    """The layer's outputs at these positions: (R, O) float32."""
    positions_S = positions_S.to(y.device)
    if isinstance(module, nn.Conv2d):
        return y.flatten(2)[:, :, positions_S].transpose(1, 2).flatten(0, 1).float()
    return y.reshape(len(y), -1, y.shape[-1])[:, positions_S].flatten(0, 1).float()


def inputs_of(model: nn.Module, layer: str, images: Sequence[Inputs]) -> Iterator[Tensor]:
    """Inputs of a layer for each batch; the network runs no further than it."""
    found: list[Tensor] = []

    def stop(_: str, arguments: Arguments, named: dict[str, Any]) -> None:
        found[:] = [input_of(arguments, named)]
        raise _Reached

    for batch in images:
        with suppress(_Reached), watching(model, [layer], before=stop):
            call(model, batch)
        yield found[0]


@contextmanager
def halting(
    model: nn.Module, layers: Sequence[str], on_input: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `on_input(layer, inputs)` whenever one of the layers is about to run.

    It may change the layer, which then runs as changed.
    """
    with watching(
        model, layers, before=lambda layer, args, named: on_input(layer, input_of(args, named))
    ):
        yield


@contextmanager
def answering(model: nn.Module, layers: Sequence[str], on_call: OnCall) -> Iterator[None]:
    """Call `on_call(layer, inputs, outputs)` whenever one of the layers has run."""
    with watching(
        model,
        layers,
        after=lambda layer, args, named, output: on_call(layer, input_of(args, named), output),
    ):
        yield
