"""Whether GoogLeNet rescales its inputs: no file says it, so it is measured."""

import pytest
import torch
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.options import DataOptions
from prune_dl.prune.settling.opened import Opened
from prune_dl.prune.settling.scale import settle_scale
from torch import Tensor, nn
from torch.utils.data import TensorDataset

CPU = torch.device("cpu")
ASKED = DataOptions()


class Shifted(nn.Module):
    """Right where its inputs are moved as its labels were made; as torchvision names the switch."""

    transform_input = False

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3)) + (1.0 if self.transform_input else 0.0)
        return torch.stack([-mean, mean], 1)


@pytest.mark.parametrize("truth", [True, False])
def test_the_better_of_both_is_taken_named_and_said(truth: bool) -> None:
    images = torch.randn(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = (images.mean((1, 2, 3)) + float(truth) > 0).long()
    part = TensorDataset(images, labels)
    data = wrap_datasets("some", part, part, Preprocessing())
    model = Shifted().eval()
    origin = Origin("torchvision:googlenet:aux_logits=false", 2)
    opened = settle_scale(Opened(Checkpoint(model, origin), data, CPU), ASKED)
    found = opened.checkpoint
    assert model.transform_input is truth
    assert str(found.origin.arch).endswith(f"transform_input={str(truth).lower()}")
    (note,) = found.notes
    assert "does not say whether the network rescales its inputs" in note
    known = Opened(Checkpoint(model, origin, knows_inputs=True), data, CPU)
    assert settle_scale(known, ASKED) is known
    assert settle_scale(opened, ASKED) is opened
