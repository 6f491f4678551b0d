"""Learning another network's outputs: the loss, and what stays as it is."""

import pytest
import torch
from prune_dl.prune.output_score import SpreadSums, float_outputs
from prune_dl.prune.training.imitation import Imitation
from prune_dl.prune.training.recipe import retraining
from prune_dl.prune.training.train import Journal, TrainingData, train_network
from scenes.dense_networks import UNet
from torch import nn

CPU = torch.device("cpu")


class Pictures:
    """A split of random pictures without labels."""

    num_images = 16
    labels_N = torch.zeros(16, dtype=torch.int64)

    def __init__(self) -> None:
        self.images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def batches(
        self, batch_size: int, **options: object
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        parts = torch.split(self.images, batch_size)
        return [(x, torch.zeros(len(x), dtype=torch.int64)) for x in parts]


@pytest.fixture
def teacher() -> nn.Module:
    torch.manual_seed(0)
    return UNet(4).eval()


def imitation_of(teacher: nn.Module) -> Imitation:
    sums = SpreadSums()
    with torch.no_grad():
        sums.add(float_outputs(teacher(Pictures().images)))
    return Imitation(teacher, sums.scale())


def test_the_loss_is_one_for_the_mean_and_weighs_outputs_alike(teacher: nn.Module) -> None:
    torch.manual_seed(0)
    sums, targets = SpreadSums(), {"a": torch.randn(50, 4), "b": 100 * torch.randn(50, 4)}
    sums.add(targets)
    imitation = Imitation(teacher, sums.scale())
    means = {name: x.mean(0).expand(x.shape) for name, x in targets.items()}
    assert float(imitation.loss(means, targets)) == pytest.approx(1, rel=1e-4)
    assert float(imitation.loss({**targets, "b": means["b"]}, targets)) == pytest.approx(0.5, 1e-4)


def test_a_network_learns_its_teachers_outputs_and_keeps_its_statistics(teacher: nn.Module) -> None:
    torch.manual_seed(1)
    student, rows = UNet(4), list[dict[str, float]]()
    before = {name: x.clone() for name, x in student.named_buffers()}
    data = TrainingData(Pictures(), Pictures(), imitation_of(teacher))  # type: ignore[arg-type]
    recipe = retraining(5, batch_size=4, patience=5)
    trained = train_network(student, data, recipe, device=CPU, journal=Journal(log=rows.append))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["held_out_output_fidelity"] > rows[0]["held_out_output_fidelity"]
    assert all(torch.equal(x, before[name]) for name, x in trained.named_buffers())
    assert not trained.training
