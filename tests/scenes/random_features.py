"""Classifiers of digits whose layers are as they were made, and whose last one is solved."""

import torch
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.repair.least_squares import Residuals
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NUM_IMAGES = 900


def with_solved_end(layers: list[nn.Module], num_features: int) -> tuple[nn.Sequential, DataLoader]:
    """The layers and a linear probe of what they give, in evaluation mode, with its images."""
    data = open_data("digits")
    images, labels_N = next(iter(data.train.batches(NUM_IMAGES, device="cpu", shuffle_seed=0)))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(num_features, 10)).eval()
    problem = Residuals.none(num_features, 10, torch.device("cpu"))
    with torch.no_grad():
        problem.add(model[:-1](images), nn.functional.one_hot(labels_N, 10).float())
        solved, _ = problem.solve(1e-3)
        model[-1].weight.copy_(solved[:-1].T)
        model[-1].bias.copy_(solved[-1])
    return model, DataLoader(TensorDataset(images, labels_N), batch_size=100)
