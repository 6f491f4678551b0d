"""Handwritten digits as files, with and without folders that say which they are."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(
    folder: Path, count: int, *, first: int = 0, by_label: bool = False, factor: int = 2
) -> Path:
    """PNG files of 8 times `factor` pixels a side, numbered; in the folder, or one per label."""
    found = load_digits()
    for place in range(first, first + count):
        grey = np.kron(found.images[place] * (255 / 16), np.ones((factor, factor))).round()
        inside = folder / str(found.target[place]) if by_label else folder
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.astype(np.uint8)).save(inside / f"{place:04}.png")
    return folder
