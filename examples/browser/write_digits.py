"""Write the test digits that the page shows: `python examples/browser/write_digits.py`.

digits.json: {"height", "width", "pixels": N lists of H x W bytes, "labels": N numbers}.
"""

import argparse
import json
from pathlib import Path

from prune_dl.export.variants import PixelScale, to_pixels
from prune_dl.prune.inputs.data import open_data

HERE = Path(__file__).parent


def write_digits(path: Path, num_images: int) -> Path:
    """Take a seeded part of the test digits, as 8-bit pixels."""
    data = open_data("digits")
    images, labels = next(data.test.batches(num_images, device="cpu", limit=num_images))
    pixels = to_pixels(images, PixelScale.of(data))
    document = {
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "pixels": pixels.flatten(1).tolist(),
        "labels": labels.tolist(),
    }
    path.write_text(json.dumps(document))
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "digits.json")
    parser.add_argument("--images", type=int, default=60)
    options = parser.parse_args()
    print(write_digits(options.out, options.images))
