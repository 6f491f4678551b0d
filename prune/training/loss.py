"""mixup of a batch. The losses themselves: `tasks.py`.

Shapes: B images.
"""

import torch
from torch import Tensor

from ..forward import map_tensors, tensors_of
from ..inputs.arrays import sent
from ..inputs.seeded import seeded
from ..inputs.split import Inputs


def can_be_mixed(images: Inputs) -> bool:
    """Whether all inputs are fractions: token numbers, for one, have no blend.

    >>> can_be_mixed(torch.zeros(2, 3)), can_be_mixed(torch.zeros(2, 3, dtype=torch.long))
    (True, False)
    """
    return all(x.is_floating_point() for x in tensors_of(images))


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
