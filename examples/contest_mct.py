"""Sony's arm of the contest (see contest.py; pip install model-compression-toolkit).

Structured pruning by label-free Hessian scores, "experimental" in its own words. Its budget is the
bytes of the weights, so the share of them is searched that leaves the multiply-adds. Channels go 32
at a time, as its default target platform computes them.
"""

import time
from collections.abc import Iterator
from typing import Any

from contest_scene import Made, Scene, count_params, widest_within
from torch import nn

ARMS = ("mct",)
TRIALS = 6
"""Of the share of the bytes: each one measures all scores again."""
APPROXIMATIONS = 32
"""Of the Hessian's trace, its own default."""


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """The widest network within the budget that a share of the bytes leads to."""
    start = time.perf_counter()
    model = widest_within(scene, macs, lambda share: _prune(scene, share, seed), TRIALS)
    return Made(model, (time.perf_counter() - start) / TRIALS)


def _prune(scene: Scene, share: float, seed: int) -> nn.Module:
    import model_compression_toolkit as mct

    def images() -> Iterator[list[Any]]:
        for batch, _ in scene.training(128):
            yield [batch.numpy()]

    size = 4 * count_params(scene.model) * share
    smaller, _ = mct.pruning.pytorch_pruning_experimental(
        model=scene.copied(seed),
        target_resource_utilization=mct.core.ResourceUtilization(weights_memory=size),
        representative_data_gen=images,
        pruning_config=mct.pruning.PruningConfig(num_score_approximations=APPROXIMATIONS),
    )
    return smaller.eval()
