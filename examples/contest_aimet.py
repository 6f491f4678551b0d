"""AIMET's arms of the contest (see contest.py; pip install aimet-torch).

Channel pruning with weight reconstruction, a greedy search over layers by multiply-adds, as in
its documentation: functions made modules by its model preparer, ten ratios a layer, the first
convolution ignored. Ratios are scored on 500 held-out images; layers are reconstructed on 5,000
rows, ten from an image. "aimet" may also thin what reads a residual stream, by operations that pick
channels (`allow_custom_downsample_ops`); "aimet-inner" may not, and prunes inside the blocks alone.
"""

import os
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from contest_scene import CPU, Made, Scene
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

INNER = "aimet-inner"
ARMS = ("aimet", INNER)
RECONSTRUCTION_ROWS = 5000


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """The network that AIMET's compressor returns; it writes scores into ./data, so elsewhere."""
    from aimet_torch.common.defs import CompressionScheme, CostMetric, GreedySelectionParameters
    from aimet_torch.compress import ModelCompressor
    from aimet_torch.defs import ChannelPruningParameters
    from aimet_torch.model_preparer import prepare_model

    model = prepare_model(scene.copied(seed))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    images, labels = next(
        scene.case.data.train.batches(2000, device=CPU, limit=2000, shuffle_seed=0)
    )
    parameters = ChannelPruningParameters(
        data_loader=DataLoader(TensorDataset(images.contiguous(), labels), batch_size=50),
        num_reconstruction_samples=RECONSTRUCTION_ROWS,
        allow_custom_downsample_ops=arm != INNER,
        mode=ChannelPruningParameters.Mode.auto,
        params=ChannelPruningParameters.AutoModeParams(
            GreedySelectionParameters(Decimal(str(macs)), num_comp_ratio_candidates=10),
            modules_to_ignore=convolutions[:1],
        ),
    )
    start, here = time.perf_counter(), Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("data").mkdir()
            smaller, _ = ModelCompressor.compress_model(
                model,
                eval_callback=lambda network, iterations, use_cuda: scene.score(network),
                eval_iterations=None,
                input_shape=tuple(scene.example.shape),
                compress_scheme=CompressionScheme.channel_pruning,
                cost_metric=CostMetric.mac,
                parameters=parameters,
            )
        finally:
            os.chdir(here)
    return Made(smaller.eval(), time.perf_counter() - start)
