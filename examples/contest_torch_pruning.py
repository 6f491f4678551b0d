"""Torch-Pruning's arms of the contest (see contest.py; pip install torch-pruning).

Its own dependency graph, global over the layers (random: uniform), in 200 small steps down to the
budget, its output layer named by hand. Gradients for Taylor, Hessian and OBDC are taken on 1,280
training images (Hessian: on one image at a time, 128 of them), once, as its own scripts do. In
1.6.1 OBDC stops with "'NoneType' object is not iterable" in a network without attention: it asks
the pruner for the root of an attention layer; here it gets the group that it asked about.
"""

import time
from typing import Any
from unittest.mock import patch

import torch
from contest_scene import GRADIENT_IMAGES, Made, Scene
from torch import nn
from torch.nn.functional import cross_entropy

ARMS = (
    *("tp-l1", "tp-l2", "tp-bn-scale", "tp-taylor", "tp-fpgm", "tp-lamp", "tp-random"),
    *("tp-hessian", "tp-obdc"),
)
HESSIAN_IMAGES = 128
"""Every image costs a backward pass of its own."""
STEPS = 200
"""Down to 5 % of the channels, were the budget not reached before."""


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """One of Torch-Pruning's importances."""
    import torch_pruning as tp

    model = scene.copied(seed)
    importance = _importance(tp.importance, arm, scene.case.num_labels)
    ignored = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    start = time.perf_counter()
    pruner = tp.pruner.BasePruner(
        model,
        scene.example,
        importance,
        global_pruning=arm != "tp-random",
        pruning_ratio=0.95,
        max_pruning_ratio=0.95,
        iterative_steps=STEPS,
        ignored_layers=ignored,
    )
    _take_gradients(scene, arm, model, importance, pruner)
    while scene.share(model) > macs and pruner.current_step < pruner.iterative_steps:
        pruner.step()
    model.zero_grad()
    return Made(model, time.perf_counter() - start)


def _importance(known: Any, arm: str, num_labels: int) -> Any:
    match arm:
        case "tp-l1":
            return known.GroupMagnitudeImportance(p=1)
        case "tp-l2":
            return known.GroupMagnitudeImportance(p=2)
        case "tp-bn-scale":
            return known.BNScaleImportance()
        case "tp-taylor":
            return known.GroupTaylorImportance()
        case "tp-fpgm":
            return known.FPGMImportance()
        case "tp-lamp":
            return known.LAMPImportance()
        case "tp-hessian":
            return known.GroupHessianImportance()
        case "tp-obdc":
            return known.OBDCImportance(num_classes=num_labels)
    return known.RandomImportance()


def _take_gradients(scene: Scene, arm: str, model: nn.Module, importance: Any, pruner: Any) -> None:
    """What the importance needs of the loss; nothing for those of weights."""
    if arm == "tp-taylor":
        for images, labels in scene.training(GRADIENT_IMAGES):
            cross_entropy(model(images), labels).backward()
    if arm == "tp-hessian":
        for images, labels in scene.training(HESSIAN_IMAGES):
            for image, label in zip(images.split(1), labels.split(1), strict=True):
                model.zero_grad()
                cross_entropy(model(image), label).backward()
                importance.accumulate_grad(model)
    if arm == "tp-obdc":
        with patch.object(pruner, "_downstream_node_as_root_if_attention", lambda group: group):
            importance._prepare_model(model, pruner)
        for images, _ in scene.training(GRADIENT_IMAGES):
            outputs = model(images)
            drawn = torch.multinomial(outputs.detach().softmax(1), 1).flatten()
            cross_entropy(outputs, drawn).backward()
            importance.step()
        importance._rm_hooks(model)
