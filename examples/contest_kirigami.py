"""torch-kirigami's arms of the contest (see contest.py; pip install torch-kirigami).

Greedy over the whole network by its own metrics, as its README does; its budget is parameters, so
the number is searched that leaves the multiply-adds. OSSCAR, a closed-form repair, is
a workflow in its repository and not in the package.
"""

import time

from contest_scene import GRADIENT_IMAGES, Made, Scene, count_params, widest_within
from torch import nn
from torch.nn.functional import cross_entropy

ARMS = ("kirigami-group", "kirigami-l1", "kirigami-taylor")
TRIALS = 12
"""Of the number of parameters, each half as far from the budget as the one before."""


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """The widest network within the budget that a number of parameters leads to."""
    start = time.perf_counter()
    model = widest_within(scene, macs, lambda share: _prune(scene, arm, share, seed), TRIALS)
    return Made(model, (time.perf_counter() - start) / TRIALS)


def _prune(scene: Scene, arm: str, params: float, seed: int) -> nn.Module:
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import (
        Greedy,
        GroupMagnitude,
        Magnitude,
        ParameterBudget,
        Pruner,
        WeightTaylor,
    )

    model = scene.copied(seed)
    if arm == "kirigami-taylor":
        for images, labels in scene.training(GRADIENT_IMAGES):
            cross_entropy(model(images), labels).backward()
    pruner = Pruner(model, graph=DependencyGraph.build(model, args=(scene.example,)))
    metrics = {"kirigami-group": GroupMagnitude, "kirigami-l1": Magnitude}
    metric = WeightTaylor() if arm == "kirigami-taylor" else metrics[arm](p=1 + arm.endswith("p"))
    budget = ParameterBudget(max_params=int(params * count_params(scene.model)))
    model, _ = pruner.prune(pruner.discover_candidates(), budget=budget, strategy=Greedy(metric))
    model.zero_grad()
    return model.eval()
