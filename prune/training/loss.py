"""Losses of training: against labels, and against the original network's outputs.

Shapes: B images, K labels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..forward import map_tensors
from ..inputs.arrays import sent
from ..inputs.split import Inputs, seeded


def label_loss(logits_BK: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy, float32; a share `smoothing` of each target is spread evenly."""
    return functional.cross_entropy(logits_BK.float(), labels_B, label_smoothing=smoothing)


def distillation_loss(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, float32.

    Hinton, Vinyals and Dean, arXiv 1503.02531.
    """
    student = functional.log_softmax(student_BK.float() / temperature, dim=1)
    teacher = functional.log_softmax(teacher_BK.float() / temperature, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def mix(
    images: Inputs, labels_B: Tensor, alpha: float, randomness: torch.Generator
) -> tuple[Inputs, Tensor, float]:
    """mixup, arXiv 1710.09412: blended images, the other labels, the share of the first ones.

    The share is Beta(alpha, alpha); the order and the share come from `randomness`.
    """
    seed = int(torch.randint(2**31, (1,), generator=randomness))
    with seeded(seed):
        share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = sent(torch.randperm(len(labels_B), generator=randomness), labels_B.device)
    mixed = map_tensors(lambda x: share * x + (1 - share) * x[order], images)
    return mixed, labels_B[order], share
