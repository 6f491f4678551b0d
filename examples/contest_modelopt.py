"""NVIDIA ModelOpt's arm of the contest (see contest.py).

pip install nvidia-modelopt torchprofile==0.0.4

FastNAS by multiply-adds, scored on 500 held-out images, batch norms calibrated on training images
by its own search. Widths are multiples of 8; its default of 32 leaves nothing to choose where a
layer has 16 to 64 channels.
"""

import time
from typing import Any

from contest_scene import Made, Scene

ARMS = ("modelopt",)
DIVISOR = 8
CALIBRATION_IMAGES = 2560


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """The subnet that FastNAS finds."""
    import modelopt.torch.prune as mtp

    model = scene.copied(seed)
    config: Any = mtp.fastnas.FastNASConfig()
    config["nn.Conv2d"]["*"]["channel_divisor"] = DIVISOR
    config["nn.BatchNorm2d"]["*"]["feature_divisor"] = DIVISOR
    config["nn.Linear"]["*"]["feature_divisor"] = DIVISOR
    batches = list(scene.training(CALIBRATION_IMAGES))
    start = time.perf_counter()
    smaller, _ = mtp.prune(
        model=model,
        mode=[("fastnas", config)],
        constraints={"flops": f"{100 * macs:g}%"},
        dummy_input=scene.example,
        config={
            "data_loader": batches,
            "collect_func": lambda batch: batch[0],
            "max_iter_data_loader": len(batches),
            "score_func": scene.score,
        },
    )
    return Made(smaller.eval(), time.perf_counter() - start)
