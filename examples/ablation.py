"""What each part of the mechanism is worth: one network and budget, its parts left out in turn.

    python examples/ablation.py --model resnet56.th --data cifar10/ --macs 0.5 --out ablation/
    python examples/ablation.py ... --arms mechanism response --seeds 0 1

| arm             | filters ranked by          | budget spread over layers by               |
|-----------------|----------------------------|--------------------------------------------|
| mechanism       | response and label fields  | measured change of the outputs (default)   |
| response        | response alone             | the same                                   |
| label-loss      | label probe alone          | the same                                   |
| snr             | a filter's own label field | the same                                   |
| random          | nothing                    | the same                                   |
| mechanism-sr    | response and label fields  | success rate still to be gained            |
| response-sr     | response alone             | the same                                   |
| mechanism-error | response and label fields  | relative errors alone                      |
| response-error  | response alone             | the same                                   |
| random-error    | nothing                    | the same                                   |

Every arm is repaired and refitted as the job does it, without a gradient step. A seed chooses the
held-out part, and with it the images of the statistics and of the refit: all arms of a seed share
them. Columns: top-1 on the test part, and the mean Kullback-Leibler divergence of the label
probabilities from the original's there, which tells networks apart where counts do not.

Statistics are kept in OUT, by seed. Each row is written to OUT/rows.jsonl as soon as it is
measured, and a second call with the same settings goes on where the first stopped. OUT/0.5.md has
means over the seeds, the standard deviation between seeds, and the same of the difference to the
first arm.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from prune_dl.evaluate.measure.accuracy import measure_accuracy
from prune_dl.prune.budget import Budget
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.forward import call, evaluating
from prune_dl.prune.job.budget import counted_plan
from prune_dl.prune.job.kept import Kept
from prune_dl.prune.job.known import Case, Measured, Planned
from prune_dl.prune.job.plan import find_sensitivity, measure_images, rank_by
from prune_dl.prune.job.stages import carry_out
from prune_dl.prune.options import (
    DataOptions,
    NetworkOptions,
    RetrainOptions,
    RunOptions,
    SelectOptions,
    Settings,
)
from prune_dl.prune.outputs import class_scores
from prune_dl.prune.progress import RunLog
from torch import Tensor, nn

ARMS = {
    "mechanism": ("mechanism", "output"),
    "response": ("response", "output"),
    "label-loss": ("label-loss", "output"),
    "snr": ("snr", "output"),
    "random": ("random", "output"),
    "mechanism-sr": ("mechanism", "sr"),
    "response-sr": ("response", "sr"),
    "mechanism-error": ("mechanism", "error"),
    "response-error": ("response", "error"),
    "random-error": ("random", "error"),
}
"""Arm -> what it ranks by, and what it allocates by."""
TEST_BATCH = 500
"""Images at once; it bounds memory."""


@dataclass(frozen=True)
class Question:
    """What a row depends on; rows of another question are measured again."""

    model: str
    data: str
    macs: float
    images: int = 6000
    test_images: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Row:
    """One arm, one seed: share of the multiply-adds left, top-1 (a fraction), divergence (nats)."""

    arm: str
    seed: int
    macs_share: float
    top1: float
    divergence: float


@dataclass(frozen=True)
class Seeded:
    """A network measured on the images of one seed, for all arms."""

    case: Case
    measured: Measured
    expected: Tensor


def measure_seed(question: Question, seed: int, out: Path, device: str = "auto") -> Seeded:
    """Open network and data, and measure; statistics of an earlier call are read back."""
    images = DataOptions(question.data, mean=question.mean, std=question.std)
    run = RunOptions(device=device, seed=seed)
    _, case = open_case(NetworkOptions(question.model), images, run, RunLog())
    case = replace(case, kept=Kept(out / f"seed-{seed}"))
    measured = measure_images(case, settings_of(question, "mechanism"))
    return Seeded(case, measured, outputs_of(case.model, case, question.test_images))


def settings_of(question: Question, arm: str) -> Settings:
    """Of the job that an arm is, which trains nothing."""
    rank, allocate = ARMS[arm]
    select = SelectOptions(
        macs=question.macs,
        rank=rank,
        allocate=allocate,  # type: ignore[arg-type]
        images=question.images,
    )
    return Settings(select, RetrainOptions(epochs=0))


def measure_row(seeded: Seeded, question: Question, arm: str, cached: dict[str, Any]) -> Row:
    """Prune as one arm does, and measure on the test part.

    Args:
        cached: what arms of this seed share; filled here.
    """
    case, settings = seeded.case, settings_of(question, arm)
    select = settings.select
    if select.rank not in cached:
        cached[select.rank] = rank_by(case, seeded.measured, select.rank, select.images)
    if select.allocate not in cached:
        cached[select.allocate] = find_sensitivity(case, seeded.measured, select)
    measured = replace(seeded.measured, sensitivity=cached[select.allocate])
    ranking = cached[select.rank]
    plan = counted_plan(measured, ranking, Budget("macs", question.macs), select)
    planned = Planned(case.model, measured, ranking, plan, measured.whole)
    smaller = carry_out(planned, settings, replace(case, kept=Kept())).final
    limit = question.test_images
    top1 = measure_accuracy(smaller, case.data.test, device=case.device, limit=limit).top1
    far = divergence(seeded.expected, outputs_of(smaller, case, limit))
    return Row(arm, case.seed, planned.left.macs / planned.original.macs, top1, far)


def outputs_of(model: nn.Module, case: Case, limit: int | None) -> Tensor:
    """Logits (N, K) of test images, float64."""

    def scores() -> Iterator[Tensor]:
        for x, _ in case.data.test.batches(TEST_BATCH, device=case.device, limit=limit):
            yield class_scores(call(model, x)).double().cpu()

    with evaluating(model):
        return torch.cat(list(scores()))


def divergence(expected_NK: Tensor, found_NK: Tensor) -> float:
    """Mean Kullback-Leibler divergence of the label probabilities, in nats."""
    p_NK, q_NK = (x.log_softmax(1) for x in (expected_NK, found_NK))
    return float((p_NK.exp() * (p_NK - q_NK)).sum(1).mean())


def run(question: Question, arms: list[str], seeds: list[int], out: Path) -> list[Row]:
    """Measure what is not in OUT/rows.jsonl yet, seed by seed, and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "rows.jsonl"
    asked = json.loads(json.dumps(asdict(question)))
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [Row(**x["row"]) for x in lines if x["question"] == asked]
    for seed in seeds:
        todo = [arm for arm in arms if (arm, seed) not in {(row.arm, row.seed) for row in rows}]
        seeded = measure_seed(question, seed, out) if todo else None
        cached: dict[str, Any] = {}
        for arm in todo:
            assert seeded is not None
            rows.append(measure_row(seeded, question, arm, cached))
            with file.open("a") as stream:
                print(json.dumps({"question": asked, "row": asdict(rows[-1])}), file=stream)
            print(rows[-1], flush=True)
    chosen = [row for row in rows if row.arm in arms and row.seed in seeds]
    (out / f"{question.macs:g}.md").write_text(table(chosen, arms))
    return chosen


def table(rows: list[Row], arms: list[str]) -> str:
    """Means over the seeds, as Markdown; the deviation between seeds after the sign."""
    lines = [
        "| arm | seeds | MACs % | top-1 % | less the first arm's | divergence | over the first's |",
        "|---|---|---|---|---|---|---|",
    ]
    first = {row.seed: row for row in rows if row.arm == arms[0]}
    for arm in arms:
        own = {row.seed: row for row in rows if row.arm == arm}
        both = own.keys() & first.keys()
        cells = [
            cell([100 * row.macs_share for row in own.values()]),
            cell([100 * row.top1 for row in own.values()]),
            cell([100 * (own[seed].top1 - first[seed].top1) for seed in both], "+.2f"),
            cell([row.divergence for row in own.values()], ".4f"),
            cell([own[seed].divergence / first[seed].divergence for seed in both], ".3f"),
        ]
        lines.append(f"| {arm} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(values: list[float], form: str = ".2f") -> str:
    """Mean, and the standard deviation where there are several."""
    if not values:
        return ""
    spread = f" ± {stdev(values):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs", type=float, default=0.5, help="share of the multiply-adds left")
    parser.add_argument("--images", type=int, default=6000, help="of the statistics")
    parser.add_argument("--test-images", type=int, default=None, help="default: the whole part")
    parser.add_argument("--mean", type=float, nargs="+", default=None)
    parser.add_argument("--std", type=float, nargs="+", default=None)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    question = Question(
        given.model,
        given.data,
        given.macs,
        given.images,
        given.test_images,
        None if given.mean is None else tuple(given.mean),
        None if given.std is None else tuple(given.std),
    )
    print(table(run(question, given.arms, given.seeds, given.out), given.arms))


if __name__ == "__main__":
    main()
