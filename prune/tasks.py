"""What a classifier is asked: one label for each image, or any number of them; and its losses.

| labels         | network    | class scores | loss                            | answer         |
|----------------|------------|--------------|---------------------------------|----------------|
| (N,) 0 to K-1  | K outputs  | the outputs  | cross-entropy                   | the highest    |
| (N,) 0 or 1    | 1 output z | (0, z)       | cross-entropy = binary, of z    | second if z > 0 |
| (N, K) 0 and 1 | K outputs  | the outputs  | binary cross-entropy, mean of K | each one > 0   |

Cross-entropy of (0, z) is binary cross-entropy with logits of z, so a network of one output needs
no code of its own after `outputs.class_scores`. Which row holds is settled where data are opened
(`inputs/targets.py`); from then on the axes of the labels tell.

Shapes: B images, K labels.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import InputError
from .forward import FORWARD_ERRORS, call, evaluating, map_tensors
from .outputs import class_scores, logits_of

SEVERAL, ONE_OUTPUT = "several labels for an image", "one output for two labels"
"""The two tasks that are not the usual one."""
SIGMOID = "Sigmoid"
"""How autograd begins the name of the operation."""
EVEN = 0.5
"""The sigmoid of 0: above it a label is there, of outputs that are probabilities."""
DEVIATIONS = 2.0
"""By so many a difference of decisions counts: by chance one in forty is as large."""
VIEWS = (
    *("View", "Unsqueeze", "Squeeze", "Reshape", "Select", "Slice", "Clone", "ToCopy", "Alias"),
    *("UnsafeView", "Flatten", "T"),
)
"""Operations that change the shape of an output and not its values, as autograd names them."""


def label_loss(scores_BK: Tensor, labels_B: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean loss against the labels, float32; a share `smoothing` of each target is spread evenly.

    Cross-entropy for labels (B,); for labels (B, K) of 0 and 1 binary cross-entropy with logits,
    the mean over images and labels.
    """
    if labels_B.ndim == 1:
        return functional.cross_entropy(scores_BK.float(), labels_B, label_smoothing=smoothing)
    targets_BK = labels_B.float() * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(scores_BK.float(), targets_BK)


def imitation_loss(
    student_BK: Tensor, teacher_BK: Tensor, labels_B: Tensor, temperature: float
) -> Tensor:
    """T^2 KL(teacher || student) of the answers at a temperature, as the labels' task has it."""
    if labels_B.ndim == 1:
        return distillation_loss(student_BK, teacher_BK, temperature)
    return multi_label_distillation_loss(student_BK, teacher_BK, temperature)


def distillation_loss(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, float32.

    Hinton, Vinyals and Dean, arXiv 1503.02531.
    """
    student = functional.log_softmax(student_BK.float() / temperature, dim=1)
    teacher = functional.log_softmax(teacher_BK.float() / temperature, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def multi_label_distillation_loss(
    student_BK: Tensor, teacher_BK: Tensor, temperature: float
) -> Tensor:
    """T^2 KL(p || q), p and q the sigmoids of teacher / T and student / T, of each label by itself.

    The mean over images and labels, float32, as `label_loss` is.
    """
    student, teacher = student_BK.float() / temperature, teacher_BK.float() / temperature
    there = teacher.sigmoid() * (functional.logsigmoid(teacher) - functional.logsigmoid(student))
    absent = (-teacher).sigmoid() * (
        functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
    )
    return (there + absent).mean() * temperature**2


@dataclass(frozen=True)
class Task:
    """What is asked of a network, as the targets of the data settled it.

    Attributes:
        labels: names of the K labels.
        multi_label: whether an image may have any number of them.
    """

    labels: tuple[str, ...]
    multi_label: bool = False

    def notes(self, num_columns: int) -> tuple[str, ...]:
        """What has to be said of a network of so many outputs; nothing of the usual task.

        >>> Task(("cat", "dog")).notes(1)
        ('one output for two labels: the answer is dog where it is above 0, else cat',)
        """
        if self.multi_label:
            return (f"{SEVERAL}: the answer is every label whose output is above 0",)
        if num_columns == 1:
            first, second = self.labels
            return (f"{ONE_OUTPUT}: the answer is {second} where it is above 0, else {first}",)
        return ()


def settle_outputs(
    model: nn.Module, inputs: Any, task: Task, labelled: Iterable[tuple[Any, Tensor]]
) -> tuple[str, ...]:
    """Notes on how the outputs are read, a line each; outputs that cannot be are refused.

    These are probabilities, where a sigmoid belongs to the task: above 0 would be always true, and
    a loss would take the sigmoid twice. Softmax inside a network of one label for each image
    changes no answer, and is left alone.

    Args:
        inputs: a batch, on the network's device; `forward.call` takes it.
        labelled: batches with their labels, read only where outputs look like probabilities.

    Raises:
        InputError: the last operation is a sigmoid; or every output lies in 0..1, and a threshold
            of 0.5 is right more often than one of 0.
    """
    with evaluating(model):
        outputs_NK = logits_of(call(model, inputs))
    num_columns = outputs_NK.shape[1]
    if num_columns > 1 and not task.multi_label:
        return ()
    what = SEVERAL if task.multi_label else ONE_OUTPUT
    if ends_in_sigmoid(model, inputs):
        raise InputError(
            f"a network of {what} that ends in a sigmoid given; expected its outputs before the "
            "sigmoid (logits), which losses and thresholds are made for; leave the last sigmoid "
            "out: the answers stay the same"
        )
    if bool(((outputs_NK >= 0) & (outputs_NK <= 1)).all()):
        _refuse_probabilities(model, what, labelled)
    return task.notes(num_columns)


def _refuse_probabilities(
    model: nn.Module, what: str, labelled: Iterable[tuple[Any, Tensor]]
) -> None:
    """Compare both thresholds on labelled images; see `settle_outputs`.

    McNemar's test: of the decisions that differ, those won exceed those lost by two deviations.
    """
    won = lost = 0
    for inputs, labels in labelled:
        with evaluating(model):
            outputs_NK = logits_of(call(model, inputs))
        if bool(((outputs_NK < 0) | (outputs_NK > 1)).any()):
            return
        there_NK = labels.reshape(outputs_NK.shape) == 1
        differs_NK = outputs_NK <= EVEN  # 0 says that the label is there, 0.5 that it is not
        won += int((differs_NK & ~there_NK).sum())
        lost += int((differs_NK & there_NK).sum())
    if won - lost > DEVIATIONS * math.sqrt(won + lost):
        raise InputError(
            f"a network of {what} whose outputs all lie between 0 and 1 given, and are right more "
            f"often above {EVEN} than above 0 ({won} decisions won, {lost} lost): probabilities; "
            "expected logits, which losses and thresholds are made for; give the network without "
            "its last activation"
        )


def ends_in_sigmoid(model: nn.Module, inputs: Any) -> bool:
    """Whether the last operation on the logits is a sigmoid, as autograd recorded it."""

    def tracked(x: Tensor) -> Tensor:
        fresh = x.detach().clone()
        return fresh.requires_grad_() if fresh.is_floating_point() else fresh

    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with evaluating(model, gradients=True):
            node: Any = logits_of(call(model, map_tensors(tracked, inputs), buffers)).grad_fn
    except FORWARD_ERRORS:
        return False
    while node is not None and node.name().split("Backward")[0].strip("_") in VIEWS:
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith(SIGMOID)


def class_probabilities(outputs: Any, *, multi_label: bool) -> Tensor:
    """Probabilities (N, K): of each label by itself, or of the labels together.

    >>> class_probabilities(torch.zeros(1, 1), multi_label=False)
    tensor([[0.5000, 0.5000]])
    """
    if multi_label:
        return logits_of(outputs).sigmoid()
    return torch.softmax(class_scores(outputs), dim=1)
