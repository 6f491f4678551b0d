"""Small images that hold any of three bars, and networks that were trained to tell them.

Bars are rows of light in the upper, middle and lower third, each there or not; noise on top.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

NUM_LABELS = 3


def bars(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 9, 9) and which bars each one holds, (N, 3) of 0 and 1."""
    randomness = torch.Generator().manual_seed(seed)
    there_NK = (torch.rand(num_images, NUM_LABELS, generator=randomness) < 0.4).long()
    images = torch.randn(num_images, 1, 9, 9, generator=randomness)
    images += 0.6 * there_NK.repeat_interleave(3, dim=1)[:, None, :, None]
    return images, there_NK


def multi_label_set(num_images: int = 300, seed: int = 0) -> TensorDataset:
    """Targets (3,) of 0.0 and 1.0, as users of BCEWithLogitsLoss have them."""
    images, there_NK = bars(num_images, seed)
    return TensorDataset(images, there_NK.float())


def one_logit_set(num_images: int = 300, seed: int = 0) -> TensorDataset:
    """Whether the first bar is there, 0 or 1."""
    images, there_NK = bars(num_images, seed)
    return TensorDataset(images, there_NK[:, 0])


def network(num_labels: int) -> nn.Module:
    """Two convolutions and a linear layer; untrained."""
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 16, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_labels)),
    )


@cache
def trained(num_outputs: int) -> nn.Module:
    """Trained with binary cross-entropy on all bars (3 outputs), or on the first (1)."""
    images, there_NK = bars(600, seed=1)
    targets = there_NK[:, :num_outputs]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = network(num_outputs)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(12):
            for index in torch.randperm(len(images)).split(50):
                optimizer.zero_grad()
                loss = nn.functional.binary_cross_entropy_with_logits(
                    model(images[index]), targets[index].float()
                )
                loss.backward()
                optimizer.step()
    return model.eval()


def rows_of_both(seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    """For the command: `--data scenes.two_tasks:rows_of_both`."""
    return multi_label_set(300, seed), multi_label_set(200, seed + 7)


def indices_of_both(seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    """The same for one logit."""
    return one_logit_set(300, seed), one_logit_set(200, seed + 7)
