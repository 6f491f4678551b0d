"""The contest: one network, one budget, one retraining recipe; our criteria against the peers'.

    python examples/contest.py --model vgg16_cifar10.pt --data cifar10/ --macs 0.4 --out contest/
    python examples/contest.py ... --arms mechanism l1 tp-lamp --seeds 0 --batches 150

Arms: every criterion of prune-dl with shared allocation, repair and refit ("mechanism", "l1", ...),
without refit ("l1-repaired") or without both ("l1-unrepaired"), and Torch-Pruning's importances,
global over the layers ("tp-l1", "tp-l2", "tp-bn-scale", "tp-taylor", "tp-fpgm", "tp-lamp"), or
uniform ("tp-random"; all need torch-pruning). Columns: test accuracy with no gradient step, after
BN re-estimation, after a few batches of SGD, after a few epochs, all with the same recipe, images,
batches and seeds (the job's own recipe: the original is the teacher, of the peers too; --distill 0
is without it); multiply-adds; seconds of ranking. Accuracies are measured in bfloat16 where the
processor has it (prune_dl.prune.training.device), for every arm alike.

The statistics are kept in OUT. Each row is written to OUT/rows.jsonl as soon as it is measured, and
a second call with the same settings goes on where the first stopped; several budgets may share OUT.
OUT/0.4.md has the means and ranges over the seeds at 40 % of the multiply-adds, OUT/0.4.html the
same as a picture, OUT/0.4.json the rows.
"""

import argparse
import copy
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from contest_arms import CPU, OURS, PEERS, Scene, few, ours, peer, prepare
from contest_page import table, write_page
from prune_dl.evaluate.measure.accuracy import measure_accuracy
from prune_dl.prune.repair.norms import reestimate_norms
from prune_dl.prune.training.device import autocast
from prune_dl.prune.training.recipe import Training, retraining
from prune_dl.prune.training.train import TrainingData, train_network
from torch import nn


@dataclass(frozen=True)
class Settings:
    """What a row depends on; rows of other settings are measured again."""

    model: str
    data: str
    macs: float
    images: int
    batches: int
    epochs: int
    lr: float
    distill: float
    allocate: str
    test_images: int | None


@dataclass(frozen=True)
class Row:
    """One arm, one seed. Accuracies are fractions of the test part (its first shuffled images).

    A peer that cannot prune the network has no figures, and its error.
    """

    arm: str
    seed: int
    macs_share: float | None
    no_step: float | None
    norms: float | None
    trained: float | None
    trained_epochs: float | None
    ranking_seconds: float | None
    error: str = ""


def measure_row(scene: Scene, settings: Settings, arm: str, seed: int) -> Row:
    """Make one arm's network and measure every column."""
    if not arm.startswith("tp-"):
        made = ours(scene, arm, settings.macs, seed, settings.allocate)
        return measure_network(scene, settings, arm, seed, *made)
    try:
        smaller, share, seconds = peer(scene, arm, settings.macs, seed)
        with torch.no_grad():
            smaller.eval()(torch.zeros(2, *scene.data.input_size))
    except Exception as error:  # whatever it is, it is a result of the contest
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Row(arm, seed, None, None, None, None, None, None, reason)
    return measure_network(scene, settings, arm, seed, smaller, share, seconds)


def measure_network(
    scene: Scene,
    settings: Settings,
    arm: str,
    seed: int,
    smaller: nn.Module,
    share: float,
    seconds: float,
) -> Row:
    """Every column of a network that was made."""
    test = scene.data.test

    def top1(model: nn.Module) -> float:
        with autocast(CPU, model):
            return measure_accuracy(model.eval(), test, device=CPU, limit=settings.test_images).top1

    no_step = top1(smaller)
    renormed = reestimate_norms(smaller, few(scene, 2560), CPU)
    norms = top1(renormed)
    start = smaller if no_step >= norms else renormed

    def after(recipe: Training) -> float:
        trained = copy.deepcopy(start)
        data = TrainingData(scene.data.train)
        return top1(train_network(trained, data, recipe, device=CPU, teacher=scene.model))

    recipe = retraining(1, lr=settings.lr, seed=seed, distill=settings.distill)
    batches, epochs = settings.batches, settings.epochs
    trained = after(replace(recipe, max_batches=batches)) if batches else None
    trained_epochs = after(replace(recipe, epochs=epochs)) if epochs else None
    return Row(arm, seed, share, no_step, norms, trained, trained_epochs, seconds)


def run(settings: Settings, arms: list[str], seeds: list[int], out: Path) -> list[Row]:
    """Measure what is not in OUT/rows.jsonl yet, and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "rows.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [Row(**x["row"]) for x in lines if x["settings"] == asdict(settings)]
    wanted = [(a, s) for a in arms for s in seeds if (a, s) not in {(r.arm, r.seed) for r in rows}]
    scene = prepare(settings.model, settings.data, settings.images, out) if wanted else None
    for arm, seed in wanted:
        assert scene is not None
        rows.append(measure_row(scene, settings, arm, seed))
        with file.open("a") as stream:
            print(json.dumps({"settings": asdict(settings), "row": asdict(rows[-1])}), file=stream)
        print(rows[-1], flush=True)
        write_results(settings, rows, out)
    chosen = [row for row in rows if row.arm in arms and row.seed in seeds]
    write_results(settings, chosen, out)
    return chosen


def write_results(settings: Settings, rows: list[Row], out: Path) -> None:
    """Table, rows and picture of one budget."""
    name = f"{settings.macs:g}"
    (out / f"{name}.md").write_text(table(rows))
    document = {"settings": asdict(settings), "rows": [asdict(row) for row in rows]}
    (out / f"{name}.json").write_text(json.dumps(document, indent=1))
    write_page(rows, out / f"{name}.html", f"{settings.macs:.0%} of the multiply-adds")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs", type=float, default=0.4, help="share of the multiply-adds left")
    parser.add_argument("--images", type=int, default=6000, help="of the statistics")
    parser.add_argument("--batches", type=int, default=150, help="of SGD; 0 for none")
    parser.add_argument("--epochs", type=int, default=0, help="of SGD; 0 for none")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument(
        "--distill", type=float, default=0.7, help="share of the original's answers in the loss"
    )
    parser.add_argument(
        "--allocate", default="sr", help="how our arms spread the budget: sr, error or uniform"
    )
    parser.add_argument("--test-images", type=int, default=None, help="default: the whole part")
    parser.add_argument("--arms", nargs="+", default=[*OURS, *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    settings = Settings(
        given.model,
        given.data,
        given.macs,
        given.images,
        given.batches,
        given.epochs,
        given.lr,
        given.distill,
        given.allocate,
        given.test_images,
    )
    print(table(run(settings, given.arms, given.seeds, given.out)))


if __name__ == "__main__":
    main()
