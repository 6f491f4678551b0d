"""What labels are worth to the pruning of a classifier: the same images with and without them.

    python examples/unlabeled.py --model vgg16_cifar10.pt --data cifar10/ --macs 0.4 --out arms/

Three networks without a gradient step: pruned with the labels of the images ("labels"), with the
network's own answers in their place ("answers"), and with the labels but another seed of every
random choice ("labels, seed 1": what differs by chance). A row each: top-1 on the labelled test
part; fidelity, the share of test images with the answer of the original; the filters kept that
"labels" keeps too (Jaccard: of all that one of the two keeps). The first row is the original. A
row is kept in OUT as soon as it is measured, and a second call goes on where the first stopped.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
import tyro
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.inputs.answered import OriginalAnswers
from prune_dl.prune.inputs.split import Batch
from prune_dl.prune.job.known import Case
from prune_dl.prune.job.steps import plan_and_carry_out
from prune_dl.prune.options import (
    DataOptions,
    NetworkOptions,
    RetrainOptions,
    RunOptions,
    SelectOptions,
    Settings,
)
from prune_dl.prune.progress import RunLog
from prune_dl.prune.scores import Accuracy
from prune_dl.prune.structure.plan import Plan
from torch import Tensor, nn

ORIGINAL, LABELS, OTHER_SEED, ANSWERS = "original", "labels", "labels, seed 1", "answers"


@dataclass(frozen=True)
class Options:
    """What is compared."""

    model: str
    """A trained checkpoint."""
    data: str
    """Labelled images: a folder, digits or cifar10."""
    out: Path
    """Folder of what is finished."""
    macs: float = 0.4
    """Share of the multiply-adds that stays."""
    images: int = SelectOptions.images
    """Training images that statistics are collected on."""
    test_images: int | None = None
    """Test images that figures are measured on; default: all."""


@dataclass(frozen=True)
class ComparedArm:
    """What one network reaches: fractions, and the plan that it was made by."""

    name: str
    top1: float
    fidelity: float
    fidelity_low: float
    fidelity_high: float
    num_images: int
    plan: str = ""


def main(options: Options) -> None:
    """Make and measure what is missing, and print the table."""
    options.out.mkdir(parents=True, exist_ok=True)
    arms = [_arm(options, name) for name in (ORIGINAL, LABELS, ANSWERS, OTHER_SEED)]
    print("| network | top-1, % | fidelity, % | 95 % interval | images | filters as with labels |")
    print("|---|---|---|---|---|---|")
    for arm in arms:
        ends = f"{100 * arm.fidelity_low:.2f} to {100 * arm.fidelity_high:.2f}"
        same = f"{100 * agreement(arm.plan, arms[1].plan):.1f} %" if arm.plan else ""
        print(
            f"| {arm.name} | {100 * arm.top1:.2f} | {100 * arm.fidelity:.2f} | {ends} | "
            f"{arm.num_images} | {same} |"
        )


def agreement(one: str, other: str) -> float:
    """Filters that two plans keep, over those that one of them keeps."""
    kept = [
        {(layer.name, f) for layer in Plan.from_json(text).layers for f in layer.kept}
        for text in (one, other)
    ]
    return len(kept[0] & kept[1]) / len(kept[0] | kept[1])


def _arm(options: Options, name: str) -> ComparedArm:
    file = options.out / f"{name}.json"
    if file.exists():
        return ComparedArm(**json.loads(file.read_text(encoding="utf-8")))
    case = _open(options, unlabeled=name == ANSWERS, seed=int(name == OTHER_SEED))
    if name == ORIGINAL:
        arm = _measured(options, name, case.model)
    else:
        select = SelectOptions(macs=options.macs, images=options.images)
        settings = Settings(select, RetrainOptions(epochs=0))
        planned, outcome = plan_and_carry_out(case, settings)
        arm = replace(_measured(options, name, outcome.final), plan=planned.plan.to_json())
    file.write_text(json.dumps(asdict(arm)), encoding="utf-8")
    return arm


@cache
def _open(options: Options, *, unlabeled: bool = False, seed: int = 0) -> Case:
    network = NetworkOptions(model=options.model)
    data = DataOptions(data=options.data, unlabeled=unlabeled)
    _, case = open_case(network, data, RunOptions(device="cpu", seed=seed), RunLog(show=True))
    return case


def _measured(options: Options, name: str, network: nn.Module) -> ComparedArm:
    """Of a network, against labels and against the answers of the original."""
    labels_N, of_original_N = _labels(options), _answers(options, _open(options).model)
    answers_N = of_original_N if name == ORIGINAL else _answers(options, network)
    count = len(labels_N)
    top1 = Accuracy(int((answers_N == labels_N).sum()), count)
    fidelity = Accuracy(int((answers_N == of_original_N).sum()), count, of_answers=True)
    return ComparedArm(name, top1.value, fidelity.value, fidelity.low, fidelity.high, count)


def _labels(options: Options) -> Tensor:
    """Of the test images."""
    return torch.cat([labels_B for _, labels_B in _test(options)])


@cache
def _answers(options: Options, network: nn.Module) -> Tensor:
    """Labels that a network gives the test images."""
    case = _open(options)
    answers = OriginalAnswers.of(network, case.data, case.device)
    return torch.cat([answers(images) for images, _ in _test(options)])


def _test(options: Options) -> Iterator[Batch]:
    case = _open(options)
    return case.data.test.batches(250, device=case.device, limit=options.test_images)


if __name__ == "__main__":
    main(tyro.cli(Options))
