"""mixup of a batch. The losses themselves: `tasks.py`.

Shapes: B images.
"""

import torch
from torch import Tensor

from ..inputs.arrays import sent
from ..inputs.split import seeded


def mix(
    images: Tensor, labels_B: Tensor, alpha: float, randomness: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """mixup, arXiv 1710.09412: blended images, the other labels, the share of the first ones.

    The share is Beta(alpha, alpha); the order and the share come from `randomness`.
    """
    seed = int(torch.randint(2**31, (1,), generator=randomness))
    with seeded(seed):
        share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = sent(torch.randperm(len(images), generator=randomness), images.device)
    return share * images + (1 - share) * images[order], labels_B[order], share
