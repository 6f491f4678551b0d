"""How good the budget slider of `report.html` is: budgets forecast from one run, and measured.

    prune-dl train --arch vgg6 --epochs 6 --lr 0.02 --batch-size 64 --out vgg6.pt
    python tests/benchmarks/forecast_quality.py --model vgg6.pt
    prune-dl train --arch resnet20:in_channels=1 --epochs 8 --out resnet20.pt
    python tests/benchmarks/forecast_quality.py --model resnet20.pt

Every budget is planned, removed, repaired and refitted, without a gradient step, and measured on
the held-out images: what a forecast is about. A forecast is made from one run, whose own change of
the outputs it starts from; so each budget in turn is that run, and the others are forecast. The
first table has what was measured; the second, for each run whose refit was kept (others make no
forecast), the error of its forecast of all other budgets in points. The rank correlations
(Spearman) are of the expected with the measured score over all budgets, and of the expected with
the measured change of the outputs over those whose refit was kept. Where budgets have the same
score to an image, the first says little.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from prune_dl.prune.budget import Budget
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.errors import GateError
from prune_dl.prune.forward import call, evaluating
from prune_dl.prune.job.budget import counted_plan
from prune_dl.prune.job.forecast import expected_accuracy, expected_loss
from prune_dl.prune.job.known import Case, Planned
from prune_dl.prune.job.plan import make_plan
from prune_dl.prune.job.repair_and_check import REFITTED, repair_and_check
from prune_dl.prune.job.sensitivity import relative_change
from prune_dl.prune.options import DataOptions, NetworkOptions, RunOptions, Settings
from prune_dl.prune.outputs import class_scores
from prune_dl.prune.progress import RunLog
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from scipy.stats import spearmanr
from torch import Tensor, nn


@dataclass(frozen=True)
class Options:
    """What is forecast, and measured."""

    model: str = "vgg6.pt"
    data: str | None = None
    macs: tuple[float, ...] = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
    """Shares of the multiply-adds; one that no plan meets within 2 % is left out."""


@dataclass(frozen=True)
class Row:
    """One budget: what the plan loses, and what was measured."""

    macs: float
    loss: float
    change: float
    score: float
    applied: str


def main(options: Options) -> None:
    """Print both tables and the rank correlations."""
    where = NetworkOptions(model=options.model), DataOptions(data=options.data), RunOptions()
    _, case = open_case(*where, RunLog())
    planned = make_plan(case, Budget("macs", 0.5), Settings())
    scores_NK, labels_N = outputs(case, case.model)
    rows = []
    for share in options.macs:
        with suppress(GateError):
            rows.append(measure(case, planned, share, scores_NK))

    def expected(row: Row, run: Row) -> float:
        change = run.change * row.loss / run.loss
        return expected_accuracy(scores_NK.numpy(), labels_N.numpy(), change)

    print(f"original: held-out {case.accuracy.value:.2%} of {case.accuracy.total} images")
    for row in rows:
        print(f"MACs {row.macs:<5g} change {row.change:.4f}  {row.score:.2%}  ({row.applied})")
    for run in filter(lambda row: row.applied == REFITTED, rows):
        errors = [100 * abs(expected(row, run) - row.score) for row in rows if row is not run]
        print(f"run at {run.macs:<5g} mean error {np.mean(errors):.1f}, largest {max(errors):.1f}")
    refitted = [row for row in rows if row.applied == REFITTED]
    forecast = [expected(row, refitted[0]) for row in rows]
    of_scores = spearmanr(forecast, [row.score for row in rows]).statistic
    losses, changes = zip(*((row.loss, row.change) for row in refitted), strict=True)
    of_changes = spearmanr(losses, changes).statistic
    print(f"rank correlation: scores {of_scores:.2f}, changes {of_changes:.2f}")


def measure(case: Case, planned: Planned, share: float, scores_NK: Tensor) -> Row:
    """Carry one budget out up to the refit."""
    measured, ranking = planned.measured, planned.ranking
    plan = counted_plan(measured, ranking, Budget("macs", share), Settings().select)
    cut = Cut(measured.structure, plan)
    best = repair_and_check(case, measured, cut, remove(case.model, cut))
    change = relative_change(scores_NK, outputs(case, best.model)[0])
    loss = expected_loss(measured, ranking, plan)
    return Row(share, loss, change, best.case.accuracy.value, best.applied)


def outputs(case: Case, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Centred outputs (N, K) and labels (N,) of the held-out images."""
    with evaluating(model):
        found = [(class_scores(call(model, x)).double(), y) for x, y in case.held_out()]
    scores_NK = torch.cat([scores for scores, _ in found])
    return scores_NK - scores_NK.mean(1, keepdim=True), torch.cat([y for _, y in found])


if __name__ == "__main__":
    main(tyro.cli(Options))
