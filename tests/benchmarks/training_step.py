"""What a retraining step costs and what its parts cost, beside a loop written by hand.

    python tests/benchmarks/training_step.py --student runs/net/ --teacher resnet56 --clock cpu
    python tests/benchmarks/training_step.py --student vgg16 --teacher vgg16

Arms take turns on the same random images: the product's training; the loop that everybody writes,
with the same precision, memory format and teacher; the same loop with torch's default optimizer on
CPUs, which updates one tensor after the other; and with everything in float32. Then the parts of
one step alone, and what was considered in their place. `--clock cpu` counts processor seconds of
this process, which other work on the machine changes little: set OMP_NUM_THREADS=1 with it.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from prune_dl.prune import load
from prune_dl.prune.command.opening import model_file
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.arrays import ArraySplit, Images
from prune_dl.prune.tasks import imitation_loss
from prune_dl.prune.training.device import autocast
from prune_dl.prune.training.recipe import retraining
from prune_dl.prune.training.train import TrainingData, train_network
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CPU = torch.device("cpu")
LAST, FIRST = torch.channels_last, torch.contiguous_format
Clock = Callable[[], float]


def network(name: str) -> nn.Module:
    """A pruned network from its file or folder, or an architecture with random weights."""
    return load(model_file(name)) if Path(name).exists() else zoo.build(name, 10)


def random_split(num_images: int, size: int) -> ArraySplit:
    """Images of noise: the work does not depend on them."""
    pixels = torch.randint(0, 256, (num_images, 3, size, size), dtype=torch.uint8)
    mean_and_std = (0.5,) * 3, (0.25,) * 3
    labels = torch.randint(0, 10, (num_images,))
    return ArraySplit(Images(pixels), torch.arange(num_images), labels, *mean_and_std)


def train_by_product(student: nn.Module, teacher: nn.Module, split: ArraySplit, batch: int) -> None:
    """The job's recipe for one epoch, without blends, which the loop by hand does not make."""
    recipe = retraining(1, batch_size=batch, mixup=0.0)
    train_network(student, TrainingData(split), recipe, device=CPU, teacher=teacher)


def train_by_hand(
    student: nn.Module,
    teacher: nn.Module,
    split: ArraySplit,
    batch: int,
    *,
    fused: bool | None = True,
    half: bool = True,
) -> None:
    """The same without the product: no schedule, no tally, no check."""
    student = student.to(memory_format=LAST).train()
    teacher = teacher.to(memory_format=LAST).eval()
    optimizer = sgd(student, 0.01, fused)
    for images, labels in split.batches(batch, device=CPU, augment=True, shuffle_seed=1):
        images = images.contiguous(memory_format=LAST)
        with precision(student, half):
            logits = student(images)
        with torch.no_grad(), precision(teacher, half):
            answers = teacher(images)
        loss = 0.3 * nn.functional.cross_entropy(logits.float(), labels)
        loss = loss + 0.7 * imitation_loss(logits, answers, labels, 4.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def sgd(model: nn.Module, lr: float, fused: bool | None) -> torch.optim.Optimizer:
    """The product's optimizer; not fused is torch's default on CPUs."""
    return torch.optim.SGD(model.parameters(), lr, 0.9, 0, 5e-4, nesterov=True, fused=fused)


def precision(model: nn.Module, half: bool) -> Any:
    """The product's own, or float32."""
    return autocast(CPU, model) if half else torch.autocast("cpu", enabled=False)


def seconds(work: Callable[[], Any], clock: Clock) -> float:
    """One call."""
    started = clock()
    work()
    return clock() - started


def measure_arms(arms: dict[str, Callable[[], Any]], rounds: int, clock: Clock) -> dict[str, float]:
    """Median seconds of every arm; they take turns, and the first round warms up."""
    turns = [{name: seconds(arm, clock) for name, arm in arms.items()} for _ in range(rounds + 1)]
    return {name: statistics.median(turn[name] for turn in turns[1:]) for name in arms}


def parts_of(
    student: nn.Module, teacher: nn.Module, split: ArraySplit, batch: int
) -> dict[str, Callable[[], Any]]:
    """What one step is made of, and what was considered in its place."""
    plain, labels = next(split.batches(batch, device=CPU))
    images = plain.contiguous(memory_format=LAST)
    folded = folded_copy(teacher)

    def learn(model: nn.Module, inputs: Tensor, half: bool = True) -> None:
        with precision(model, half):
            logits = model(inputs)
        nn.functional.cross_entropy(logits.float(), labels).backward()

    def answer(model: nn.Module, inputs: Tensor) -> None:
        with torch.no_grad(), precision(model, True):
            model(inputs)

    student, teacher = student.train().to(memory_format=LAST), teacher.eval()
    other = copy.deepcopy(student).to(memory_format=FIRST)
    learn(student, images)
    return {
        "student": lambda: learn(student, images),
        "student, float32": lambda: learn(student, images, half=False),
        "student, channels first": lambda: learn(other, plain.contiguous(memory_format=FIRST)),
        "teacher": lambda: answer(teacher, images),
        "teacher, batch norms folded": lambda: answer(folded, images),
        "images": lambda: next(split.batches(batch, device=CPU, augment=True, shuffle_seed=1)),
        "optimizer": sgd(student, 1e-9, True).step,
        "optimizer, tensor after tensor": sgd(student, 1e-9, None).step,
    }


def folded_copy(model: nn.Module) -> nn.Module:
    """Batch norms that follow a convolution in the order of modules become part of it."""
    folded = copy.deepcopy(model).eval()
    for owner in list(folded.modules()):
        children = list(owner.named_children())
        for (name, layer), (after, norm) in pairwise(children):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(owner, name, fuse_conv_bn_eval(layer, norm))
                setattr(owner, after, nn.Identity())
    return folded.to(memory_format=LAST)


def main() -> None:
    """Print one JSON document: milliseconds of a step, and ratios to the loop written by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--student", default="resnet20")
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    given = parser.parse_args()
    clock = time.process_time if given.clock == "cpu" else time.perf_counter
    student, teacher = network(given.student), network(given.teacher)
    split = random_split(given.steps * given.batch, given.size)
    with_both = student, teacher, split, given.batch
    arms = {
        "product": lambda: train_by_product(*with_both),
        "by hand": lambda: train_by_hand(*with_both),
        "by hand, optimizer tensor after tensor": lambda: train_by_hand(*with_both, fused=None),
        "by hand, float32": lambda: train_by_hand(*with_both, half=False),
    }
    whole = measure_arms(arms, given.rounds, clock)
    parts = measure_arms(parts_of(*with_both), given.rounds, clock)
    by_hand = whole["by hand"]
    document = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "clock": given.clock,
        "step_ms": {name: round(1000 * x / given.steps, 1) for name, x in whole.items()},
        "ratio_to_by_hand": {name: round(x / by_hand, 3) for name, x in whole.items()},
        "part_ms": {name: round(1000 * x, 2) for name, x in parts.items()},
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
