"""Networks that give something else than class scores, and blobs that they can learn from."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset


def conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    """Two levels down and up; skip connections are concatenated."""

    def __init__(self, width: int = 12, classes: int = 2) -> None:
        super().__init__()
        self.first, self.second = conv(3, width), conv(width, 2 * width)
        self.middle = conv(2 * width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join = conv(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        x = self.middle(self.second(functional.max_pool2d(skip, 2)))
        return self.head(self.join(torch.cat([self.up(x), skip], 1)))


class SuperResolution(nn.Module):
    """Twice the resolution by PixelShuffle."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Autoencoder(nn.Module):
    """Gives its code beside the picture."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 4, 1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4, width, 2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 2, stride=2),
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        code = self.encoder(x)
        return {"picture": self.decoder(code), "code": code}


class Blobs(Dataset[tuple[Tensor, Tensor]]):
    """Bright discs on noise, and the mask of where they are."""

    def __init__(self, count: int = 64, size: int = 16, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        centres = torch.rand(count, 2, 1, 1, generator=generator) * size
        radii = 2 + 3 * torch.rand(count, 1, 1, generator=generator)
        distance = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2).sqrt()
        self.masks = (distance < radii).long()
        noise = torch.rand(count, 3, size, size, generator=generator)
        self.images = 0.5 * noise + 0.5 * self.masks[:, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.images[place], self.masks[place]
