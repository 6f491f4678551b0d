"""mixup: which images are blended, and what counts as a hit on one."""

from typing import Any

import torch
from prune_dl.prune.inputs.arrays import ArraySplit, Images
from prune_dl.prune.training.loss import mix
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.train import Journal, TrainingData, train_network
from torch import nn

CPU = torch.device("cpu")


def test_mixup_blends_images_with_their_partners() -> None:
    images, labels = torch.arange(4.0).view(4, 1), torch.arange(4)
    mixed, others, share = mix(images, labels, 0.4, torch.Generator().manual_seed(2))
    assert 0 <= share <= 1
    assert torch.allclose(mixed.flatten(), share * labels + (1 - share) * others)


def test_hits_of_a_blend_are_counted_against_the_label_with_the_larger_share() -> None:
    class Guess(nn.Module):
        """Answers with the label whose channel is brightest; learns next to nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            return images_BCHW.amax((2, 3)) * self.scale

    labels = torch.arange(60) % 3
    pixels = torch.zeros(60, 3, 8, 8, dtype=torch.uint8)
    pixels[torch.arange(60), labels] = 255
    scale = (0.0,) * 3, (1.0,) * 3
    rows: list[dict[str, Any]] = []
    train_network(
        Guess(),
        TrainingData(ArraySplit(Images(pixels), torch.arange(60), labels, *scale)),
        Training(epochs=4, batch_size=6, lr=1e-4, mixup=2.0),
        device=CPU,
        journal=Journal(log=rows.append),
    )
    # Shares near a half are equal in bfloat16; against the first label alone it is 0.6 to 0.8.
    assert min(row["train_top1"] for row in rows) > 0.85
