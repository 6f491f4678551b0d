"""A product needs a few of a network's labels: what does it save to say so before pruning?

    python examples/labels_kept.py --model resnet56_cifar10.th --data cifar10/ \\
        --labels cat,dog airplane,ship,truck --macs 0.5 0.25 0.1 --out few/

Arms: "kept" cuts the classifier to the labels, then measures, ranks, spreads the budget, repairs
and retrains on their images alone (`prune-dl --labels-kept`). "blind" does all of that with all
labels and all images, and its classifier is cut afterwards: only its answers among the labels
count. Both have the same share of the multiply-adds, the same criterion and the same number of
images for the statistics. Accuracies are those of the test images of the labels.

Rows are written to OUT/rows.jsonl as soon as they are measured; a second call goes on where the
first stopped, with the statistics and repaired networks that it had. OUT/table.md has the rows side
by side.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from prune_dl.evaluate.measure.accuracy import measure_accuracy
from prune_dl.prune.budget import Budget
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.inputs.few_labels import choose_labels, of_labels
from prune_dl.prune.job.budget import plan_within
from prune_dl.prune.job.kept import Kept
from prune_dl.prune.job.known import Case, Measured, Planned
from prune_dl.prune.job.plan import choose_ranking, measure_network
from prune_dl.prune.job.stages import carry_out, retrain
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
from prune_dl.prune.selection.criteria import Ranking
from prune_dl.prune.structure.tracing.few_outputs import keep_outputs
from prune_dl.prune.training.train import Journal
from torch import nn

WHOLE = 1.0
"""In place of a budget: the network as it was given, its classifier cut."""


@dataclass(frozen=True)
class Cell:
    """What a row depends on; `labels` have commas between."""

    model: str
    data: str
    labels: str
    arm: str
    macs: float
    epochs: int
    rank: str = "mechanism"
    images: int = 6000
    seed: int = 0
    device: str = "auto"
    lr: float | None = None
    mixup: float | None = None

    @property
    def retraining(self) -> RetrainOptions:
        """The job's recipe, or what was given in its place."""
        return RetrainOptions(epochs=self.epochs, lr=self.lr, mixup=self.mixup)


@dataclass(frozen=True)
class Row:
    """One network: test images of the labels that it gets right, of how many; what is left of the
    multiply-adds."""

    cell: Cell
    correct: int
    total: int
    macs_share: float


def measure_cells(cells: Sequence[Cell], kept_in: Path) -> Iterator[Row]:
    """Rows of cells that share a case: one pass of statistics, one plan and repair a budget.

    Args:
        kept_in: folder for what long stages gave, until all cells are measured.
    """
    first = cells[0]
    where = (NetworkOptions(first.model), DataOptions(data=first.data))
    run = RunOptions(seed=first.seed, device=first.device)
    kept = tuple(first.labels.split(",")) if first.arm == "kept" else ()
    _, case = open_case(*where, run, RunLog(show=False), kept)
    case = replace(case, kept=Kept(kept_in))
    yield from (_row(case, cell, case.model, WHOLE) for cell in cells if cell.macs == WHOLE)
    pruned = [cell for cell in cells if cell.macs != WHOLE]
    if not pruned:
        return
    settings = Settings(SelectOptions(rank=first.rank, images=first.images))
    measured = measure_network(case, Budget("macs", pruned[0].macs), settings)
    ranking, _ = choose_ranking(case, measured, Budget("macs", pruned[0].macs), settings.select)
    for macs in dict.fromkeys(cell.macs for cell in pruned):
        chosen = [cell for cell in pruned if cell.macs == macs]
        yield from _measure_budget(case, chosen, measured, ranking, settings)
    shutil.rmtree(kept_in, ignore_errors=True)


def _measure_budget(
    case: Case, cells: Sequence[Cell], measured: Measured, ranking: Ranking, settings: Settings
) -> Iterator[Row]:
    """Rows of one budget: without a step, and after retraining."""
    fitted = plan_within(case, measured, ranking, Budget("macs", cells[0].macs), settings)
    planned = Planned(case.model, measured, ranking, fitted.plan, measured.whole)
    no_step = replace(settings, retrain=RetrainOptions(epochs=0))
    repaired = case.of(carry_out(planned, no_step, case).final)
    share = planned.left.macs / planned.original.macs
    for how in sorted({cell.retraining for cell in cells}, key=repr):
        model = repaired.model
        if how.epochs:
            place = case.kept.folder
            assert place is not None, "`measure_cells` gives one"
            words = f"{how.epochs}-{how.lr}-{how.mixup}"
            journal = Journal(resume=place / f"{fitted.plan.digest}-{words}.pt")
            model = retrain(case, repaired, how, journal).delivered.model
        yield from (_row(case, cell, model, share) for cell in cells if cell.retraining == how)


def _row(case: Case, cell: Cell, model: nn.Module, share: float) -> Row:
    found = accuracy_among(case, model, cell.labels.split(","))
    return Row(cell, found.correct, found.total, share)


def accuracy_among(case: Case, model: nn.Module, labels: Sequence[str]) -> Accuracy:
    """Accuracy on the test images of some labels, of answers among them."""
    data = case.data
    if set(labels) != set(data.labels):
        names = choose_labels(labels, data)
        outputs = [data.labels.index(name) for name in names]
        model = keep_outputs(model, case.example, outputs).model
        data = of_labels(data, names)
    return measure_accuracy(model, data.test, device=case.device)


def run(cells: Sequence[Cell], out: Path) -> list[Row]:
    """Measure what is not in OUT/rows.jsonl yet, and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "rows.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [Row(**{**line, "cell": Cell(**line["cell"])}) for line in map(json.loads, lines)]
    done = {row.cell for row in rows}
    for key, together in _by_case([cell for cell in cells if cell not in done]).items():
        for row in measure_cells(together, out / key):
            rows.append(row)
            with file.open("a") as stream:
                print(json.dumps(asdict(row)), file=stream)
            print(row, flush=True)
    found = {row.cell: row for row in rows}
    chosen = [found[cell] for cell in cells]
    (out / "table.md").write_text(table(chosen))
    return chosen


def _by_case(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells that can share what is measured, by name: all label sets of a blind network, or one."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        labels = cell.labels if cell.arm == "kept" else "all"
        key = f"{cell.arm}-{labels}-{cell.rank}-{cell.images}-{cell.seed}"
        groups.setdefault(key, []).append(cell)
    return groups


def table(rows: Sequence[Row]) -> str:
    """One line for each set of labels, budget and number of epochs; both arms beside each other."""
    lines = [
        "| labels | MACs | epochs | ranking | images | seed | whole | blind | kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    whole = {row.cell.labels: _percent(row) for row in rows if row.cell.macs == WHOLE}
    found: dict[tuple[object, ...], dict[str, str]] = {}
    for row in (row for row in rows if row.cell.macs != WHOLE):
        c = row.cell
        key = (c.labels, f"{c.macs:.0%}", c.epochs, c.rank, c.images, c.seed)
        found.setdefault(key, {})[c.arm] = _percent(row)
    for key, arms in found.items():
        ends = (whole.get(str(key[0]), ""), arms.get("blind", ""), arms.get("kept", ""))
        lines.append(f"| {' | '.join(map(str, (*key, *ends)))} |")
    return "\n".join(lines) + "\n"


def _percent(row: Row) -> str:
    found = Accuracy(row.correct, row.total)
    return f"{100 * found.top1:.2f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels", nargs="+", required=True, help="sets, commas between names")
    parser.add_argument("--macs", nargs="+", type=float, default=[0.5, 0.25, 0.1])
    parser.add_argument("--epochs", nargs="+", type=int, default=[0])
    parser.add_argument("--arms", nargs="+", default=["kept", "blind"], choices=["kept", "blind"])
    parser.add_argument("--rank", default="mechanism")
    parser.add_argument("--images", type=int, default=6000, help="of the statistics")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--lr", type=float, help="default: the job's")
    parser.add_argument("--mixup", type=float, help="default: the job's")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    how = {name: getattr(given, name) for name in ("rank", "images", "device", "lr", "mixup")}
    cells = [
        Cell(given.model, given.data, labels, arm, macs, epochs, seed=seed, **how)
        for seed in given.seeds
        for arm in given.arms
        for macs in given.macs
        for epochs in given.epochs
        for labels in given.labels
    ]
    whole = [
        Cell(given.model, given.data, labels, "kept", WHOLE, 0, device=given.device)
        for labels in given.labels
    ]
    print(table(run([*whole, *cells], given.out)))


if __name__ == "__main__":
    main()
