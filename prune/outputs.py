"""What a classifier gives for a batch: its logits, whatever they are wrapped in.

Decided once, here: a tensor is its own logits; a dictionary or an object has them under "logits" or
"out" (Hugging Face, torchvision's segmentation); a tuple or list has them first (auxiliary heads
and features follow). One number for each image, (N,), is one column.

Shapes: N images, K labels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .errors import OTHER_SIZE, InputError, first_line
from .forward import FORWARD_ERRORS, batch_size_of, call_on_copies, evaluating, tensors_of

LOGIT_NAMES = ("logits", "out")
"""What libraries call them."""
RANDOM_ABOVE = 1e-2
"""Two runs that differ by more than this share of the largest output are random: rounding of TF32,
in an order that changes from run to run, stays below a tenth of it."""

RANDOM_FORWARD = (
    "two runs of the network on the same input differ: its forward is random (a dropout that is "
    "always on?); expected the same answer every time; give a network that draws no random "
    "numbers in evaluation mode"
)
"""What is said of a random forward, wherever it shows."""
NOT_FINITE = (
    "the network's outputs hold NaN or infinity, so its accuracy means nothing; check the "
    "checkpoint, or retrain with a smaller learning rate"
)
"""What is said of outputs that are no numbers."""


def logits_of(outputs: Any) -> Tensor:
    """The logits (N, K) among a network's outputs.

    Raises:
        InputError: there are none, or they are not (N, K).

    >>> logits_of({"loss": None, "logits": torch.ones(2, 10)}).shape
    torch.Size([2, 10])
    """
    found = found_logits(outputs)
    if isinstance(found, Tensor) and found.ndim == 1 and found.is_floating_point():
        found = found[:, None]
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
        raise InputError(
            f"a network that returns {describe_outputs(outputs)} given; expected logits, one row "
            "for each image and one column for each label: as a tensor, first in a tuple, or "
            'under "logits" or "out"; give the name of another as `output`, or, where none holds '
            "class scores, prune it by its outputs (`judge=outputs`)"
        )
    return found


def class_scores(outputs: Any) -> Tensor:
    """Logits (N, K) with one column for each label: (0, z) where the network has one output z.

    Their highest is the second label where z > 0, and their softmax has the sigmoid of z second.

    Raises:
        InputError: as `logits_of`.

    >>> class_scores(torch.tensor([[-1.5], [2.0]]))
    tensor([[ 0.0000, -1.5000],
            [ 0.0000,  2.0000]])
    """
    logits_NK = logits_of(outputs)
    if logits_NK.shape[1] != 1:
        return logits_NK
    return torch.cat([torch.zeros_like(logits_NK), logits_NK], dim=1)


def found_logits(outputs: Any) -> Any:
    """What stands where logits are looked for; None where nothing does."""
    if isinstance(outputs, Tensor):
        return outputs
    for name in LOGIT_NAMES:
        if isinstance(outputs, Mapping):
            named = outputs.get(name)
        else:
            named = getattr(outputs, name, None)
        if isinstance(named, Tensor):
            return named
    return outputs[0] if isinstance(outputs, tuple | list) and outputs else None


def describe_outputs(outputs: Any) -> str:
    """What a network returned, in words.

    >>> describe_outputs([torch.ones(2, 10), None])
    'a list of 2 (2 x 10, NoneType)'
    """
    if isinstance(outputs, Tensor):
        sizes = " x ".join(map(str, outputs.shape)) or "no axes"
        kind = str(outputs.dtype).removeprefix("torch.")
        return f"a tensor of {sizes}" + ("" if outputs.is_floating_point() else f" {kind}")
    if isinstance(outputs, Mapping):
        return f"a dictionary ({', '.join(map(str, outputs)) or 'empty'})"
    if isinstance(outputs, tuple | list):
        parts = ", ".join(describe_outputs(x).removeprefix("a tensor of ") for x in outputs[:3])
        return f"a {type(outputs).__name__} of {len(outputs)} ({parts})"
    return type(outputs).__name__


class LogitsOnly(nn.Module):
    """A network that gives nothing but its logits (N, K)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The logits of the network inside."""
        return logits_of(self.model(images))


def require_classifier(model: nn.Module, inputs: Any, num_labels: int) -> None:
    """Refuse, before any work, a network that cannot be judged as a classifier of these inputs.

    Networks that hide their layers (TorchScript) are left to the tracer, which refuses them.

    Args:
        inputs: a batch, on the network's device; `forward.call` takes it.

    Raises:
        InputError: it does not run on them, gives no logits of `num_labels` columns (or of one,
            for two labels), or gives others at every run.
    """
    if any(isinstance(x, torch.jit.ScriptModule | nn.DataParallel) for x in model.modules()):
        return
    try:
        with evaluating(model):
            outputs = call_on_copies(model, inputs)
    except FORWARD_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_does_not_run(model, inputs, error)) from error
    logits_NK = logits_of(outputs)
    num_images = batch_size_of(inputs)
    if len(logits_NK) != num_images:
        raise InputError(
            f"a network that gives {len(logits_NK)} rows of outputs for a batch of "
            f"{num_images} given; expected one for each image; "
            "give a network that does"
        )
    if logits_NK.shape[1] == 1 and num_labels == 1:
        raise InputError(
            "a network of one output given, for 1 label; expected 2 labels, which the sign of the "
            "output tells apart; give `num_labels=2`, and labels of 0 and 1"
        )
    if logits_NK.shape[1] != num_labels and (logits_NK.shape[1], num_labels) != (1, 2):
        raise InputError(
            f"a network of {logits_NK.shape[1]} outputs given, for {num_labels} labels; expected "
            "one output for each label; give `num_labels`, or the data that it was trained on"
        )
    if not bool(torch.isfinite(logits_NK).all()):
        raise InputError(NOT_FINITE)
    if run_to_run_difference(model, inputs) > RANDOM_ABOVE:
        raise InputError(RANDOM_FORWARD)


def run_to_run_difference(model: nn.Module, inputs: Any) -> float:
    """`largest_difference` of two runs on equal inputs; buffers are as they were every time."""
    with evaluating(model):
        first, second = (floating_outputs(call_on_copies(model, inputs)) for _ in range(2))
    return largest_difference(first, second)


def floating_outputs(outputs: Any) -> list[Tensor]:
    """The floating-point tensors among a network's outputs."""
    return [x for x in tensors_of(outputs) if x.is_floating_point()]


def largest_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Largest difference over largest magnitude of any tensor; infinite if shapes differ.

    >>> largest_difference([torch.tensor([1.0, 4.0])], [torch.tensor([1.0, 3.0])])
    0.25
    """
    if [x.shape for x in expected] != [x.shape for x in found]:
        return float("inf")
    return max((_relative(a, b) for a, b in zip(expected, found, strict=True)), default=0.0)


def _relative(expected: Tensor, found: Tensor) -> float:
    if not expected.numel():
        return 0.0
    scale = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    error = float((expected - found).abs().max()) / scale
    return error if math.isfinite(error) else float("inf")


def explain_types(model: nn.Module, inputs: Any) -> str | None:
    """Why a network does not run on inputs of another precision; None where types agree."""
    own = {x.dtype for x in model.parameters() if x.is_floating_point()}
    given = {x.dtype for x in tensors_of(inputs) if x.is_floating_point()}
    if len(own) != 1 or not given or given <= own:
        return None
    of_inputs, of_network = (
        " and ".join(sorted(str(x).removeprefix("torch.") for x in types)) for types in (given, own)
    )
    return (
        f"inputs of {of_inputs} given to a network of {of_network}; expected the same type of "
        "both; give both in float32, the network as model.float()"
    )


def _does_not_run(model: nn.Module, inputs: Any, error: Exception) -> str:
    """Why a network does not run on its inputs, as far as types and sizes tell."""
    first = tensors_of(inputs)[0]
    sizes = " x ".join(map(str, first.shape[1:]))
    if other_type := explain_types(model, inputs):
        return other_type
    layers = [x for x in model.modules() if isinstance(x, nn.Linear)]
    has_maps = any(isinstance(x, nn.Conv1d | nn.Conv2d | nn.Conv3d) for x in model.modules())
    if layers and not has_maps and layers[0].in_features == first[0].numel() and first.ndim > 2:
        return (
            f"images of {sizes} given to a network whose first layer reads rows of "
            f"{layers[0].in_features} numbers; expected a network that reads images; "
            "put nn.Flatten() before its first layer"
        )
    return (
        f"inputs of {sizes} given, on which {type(model).__name__} does not run "
        f"({first_line(error)}); expected what it was made for; give other data or {OTHER_SIZE}"
    )
