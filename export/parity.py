"""Parity: whether the ONNX file computes what the network computes, on real images.

Shapes: N images, K outputs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..prune.errors import GateError, InputError
from ..prune.forward import call, evaluating
from ..prune.outputs import class_scores, logits_of
from .session import open_session, run_session

PARITY_TOLERANCE = 1e-3
"""Largest difference allowed, relative to the largest output, between float32 results. Two
correct implementations of one network differ by rounding: 1e-7 to 1e-5 on the networks tested."""
MIN_AGREEMENT = 0.99
"""Least share of images with the same label: rounding swaps the two highest outputs of an image
only where they are all but equal."""
PARITY_IMAGES = 256
"""Images that a file is compared on: enough that one in a hundred with another label shows."""
PARITY_BATCH = 64
"""Images that the network takes at once; it changes no more than rounding."""


@dataclass(frozen=True)
class AnswerRule:
    """How an answer is read from outputs.

    Attributes:
        each_label: whether every label is decided by itself.
        threshold: above it a label is there, of outputs that are decided by themselves.
    """

    each_label: bool = False
    threshold: float = 0.0


HIGHEST = AnswerRule()
"""The label of the highest class score; of one output, its sign."""


@dataclass(frozen=True)
class Parity:
    """How far a file is from the network it was exported from.

    Attributes:
        max_abs_difference: largest |file - network| over all outputs.
        max_relative_difference: the same, divided by the largest |output| of the network.
        top1_agreement: share of the images that get the same label, 0..1; where an image may have
            several, share of all decisions.
        num_images: how many images were compared.
        tolerance: what `max_relative_difference` was held against.
    """

    max_abs_difference: float
    max_relative_difference: float
    top1_agreement: float
    num_images: int
    tolerance: float = PARITY_TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether the file may be shipped."""
        return (
            self.max_relative_difference <= self.tolerance and self.top1_agreement >= MIN_AGREEMENT
        )


def check_parity(
    path: Path,
    model: nn.Module,
    images: Tensor,
    *,
    tolerance: float = PARITY_TOLERANCE,
    rule: AnswerRule = HIGHEST,
) -> Parity:
    """Compare the file with `model` in eval mode on `images`, in what the graph takes as input.

    Args:
        images: (N, C, H, W) float32, normalised; or whatever else the exported module takes.
        tolerance: for `Parity.max_relative_difference`.
        rule: how answers are read, for `Parity.top1_agreement`.

    Raises:
        GateError: they differ by more than the tolerance; the file has been removed.
        InputError: there is no image to compare on.
    """
    if len(images) == 0:
        raise InputError(
            "no held-out image given; expected at least one to check the ONNX file on; "
            "give a larger `held_out`"
        )
    file_NK = run_session(open_session(path), images.cpu().numpy())
    parity = compare_outputs(_outputs(model, images), file_NK, tolerance=tolerance, rule=rule)
    if not parity.ok:
        path.unlink()
        raise GateError(
            f"{path} differs from the network by {parity.max_relative_difference:.2g} of the "
            f"largest output and agrees on {parity.top1_agreement:.1%} of {parity.num_images} "
            f"images; expected at most {tolerance:g} and at least {MIN_AGREEMENT:.0%}; "
            "the file was removed"
        )
    return parity


def compare_outputs(
    network_NK: NDArray[Any],
    file_NK: NDArray[Any],
    *,
    tolerance: float = PARITY_TOLERANCE,
    rule: AnswerRule = HIGHEST,
) -> Parity:
    """Differences of two sets of outputs; a value that is not finite counts as infinitely far.

    >>> compare_outputs(np.array([[1.0, 4.0]]), np.array([[1.0, 3.0]])).max_relative_difference
    0.25
    """
    worst, relative = differences(network_NK, file_NK)
    agreement = float((_decided(network_NK, rule) == _decided(file_NK, rule)).mean())
    return Parity(worst, relative, agreement, len(network_NK), tolerance)


def differences(network: NDArray[Any], file: NDArray[Any]) -> tuple[float, float]:
    """Largest difference of two outputs, and the same over the network's largest magnitude.

    Infinite where a value is not finite, or the shapes differ.

    >>> differences(np.array([1.0, 4.0]), np.array([1.0, 3.0]))
    (1.0, 0.25)
    """
    if network.shape != file.shape:
        return float("inf"), float("inf")
    difference = np.abs(network.astype(np.float64) - file.astype(np.float64))
    worst = float(difference.max()) if np.isfinite(difference).all() else float("inf")
    largest = float(np.abs(network).max())
    return worst, worst / largest if largest > 0 else worst


def _decided(outputs_NK: NDArray[Any], rule: AnswerRule) -> NDArray[Any]:
    """The answers: a class for each image, (N,), or (N, K) whether each label is there."""
    if rule.each_label:
        return np.asarray(outputs_NK > rule.threshold)
    return class_scores(torch.from_numpy(outputs_NK)).argmax(1).numpy()


def _outputs(model: nn.Module, images: Tensor) -> NDArray[Any]:
    """Outputs of the network in evaluation mode."""
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    with evaluating(model):
        batches = [
            logits_of(call(model, batch.to(device))).float().cpu()
            for batch in torch.split(images, PARITY_BATCH)
        ]
    outputs: NDArray[Any] = torch.cat(batches).numpy()
    return outputs
