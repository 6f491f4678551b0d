"""The contest: one network, one budget, one retraining recipe; our criteria against the peers'.

    python examples/contest.py --model resnet56.th --data cifar10/ --macs 0.5 --out contest/
    python examples/contest.py ... --arms mechanism l1 tp-lamp --seeds 0 --batches 150 --epochs 2 10

Arms. Ours are the job's own stages: every criterion with shared allocation, repair and refit
("mechanism", "l1", ...), repaired only ("mechanism-repaired"), not repaired ("l1-unrepaired"), or
with Neuron Merging as the repair ("l1-merged"; `contest_controls.py`). The peers', each in a file
of its own, which says how it is used and what to install: Torch-Pruning's importances ("tp-l1",
...), torch-kirigami ("kirigami-group", "kirigami-l1", "kirigami-taylor"), AIMET ("aimet"), Sony's
MCT ("mct") and ModelOpt's FastNAS ("modelopt"). A peer is imported when its arm is asked for; one
that cannot be imported, cannot prune the network or misses the budget by more than 5 % is a row
with its error.

Columns, each only where it is asked for: test accuracy with no gradient step and after BN
re-estimation (always), after so many batches of SGD (--batches) and after so many epochs
(--epochs), each a training of its own from the better of the first two, with the job's own
recipe, images and seeds (the original is the teacher, of the peers too; --distill 0 is without
it); multiply-adds and parameters left; how many times as fast as the original (--bench-seconds;
both as ONNX files, in turns); seconds of ranking and of repair ("-" where a tool does both in one
call). Accuracies are measured in bfloat16 where the processor has it
(prune_dl.prune.training.device), for every arm alike.

OUT keeps the measurements, the networks (pickled: trust a folder only if you made it) and
OUT/rows.jsonl, to which a row is written as soon as a column is measured. A second call with the
same settings goes on where the first stopped, and adds the columns that are new; several budgets
may share OUT. OUT/0.5.md has the means and ranges over the seeds at 50 % of the multiply-adds,
OUT/0.5.html the same as a picture, OUT/0.5.json the rows.
"""

import argparse
import copy
import importlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import contest_aimet
import contest_controls
import contest_kirigami
import contest_mct
import contest_modelopt
import contest_ours
import contest_torch_pruning
import torch
from contest_page import table, write_page
from contest_rows import Columns, Row, Settings, read_rows
from contest_scene import CPU, Scene, count_params, measure_latency, open_scene
from prune_dl.evaluate.measure.accuracy import measure_accuracy
from prune_dl.prune.errors import first_line
from prune_dl.prune.options import SelectOptions
from prune_dl.prune.repair.norms import reestimate_norms
from prune_dl.prune.training.device import autocast
from prune_dl.prune.training.recipe import Training, retraining
from prune_dl.prune.training.train import TrainingData, train_network
from torch import nn

OURS = (contest_ours, contest_controls)
PEERS = (contest_torch_pruning, contest_kirigami, contest_aimet, contest_mct, contest_modelopt)
MODULE_OF = {arm: module.__name__ for module in (*OURS, *PEERS) for arm in module.ARMS}
BUDGET_TOLERANCE = 0.05
"""How far above the budget a peer may end, as a share of it, before that is its error."""
NORM_IMAGES = 2560
MISSING = ("ModuleNotFoundError", "ImportError")


@dataclass(frozen=True)
class Contest:
    """One budget on one network, and the folder that it is kept in."""

    settings: Settings
    columns: Columns
    scene: Scene
    out: Path

    def write(self, row: Row) -> Row:
        """Append a row to OUT/rows.jsonl, where it takes the place of the one before it."""
        with (self.out / "rows.jsonl").open("a") as stream:
            print(json.dumps({"settings": asdict(self.settings), "row": asdict(row)}), file=stream)
        return row

    def top1(self, model: nn.Module) -> float:
        """Test accuracy, a fraction."""
        limit = self.settings.test_images
        with autocast(CPU, model):
            return measure_accuracy(
                model.eval(), self.scene.case.data.test, device=CPU, limit=limit
            ).top1

    def after(self, model: nn.Module, seed: int, **changes: int) -> float:
        """Test accuracy after a training of its own."""
        settings = self.settings
        changed = {name: getattr(settings, name) for name in ("lr", "mixup", "distill")}
        recipe = retraining(1, seed=seed, **changed)
        return self.top1(self._trained(model, replace(recipe, **changes)))

    def _trained(self, model: nn.Module, recipe: Training) -> nn.Module:
        data = TrainingData(self.scene.case.data.train)
        teacher = self.scene.model
        return train_network(copy.deepcopy(model), data, recipe, device=CPU, teacher=teacher)


Pair = tuple[nn.Module, nn.Module]
"""A network as it was made, and what its trainings start from."""


def measure_row(contest: Contest, row: Row) -> Row:
    """A row with every column that is asked for; those that it has stay."""
    if row.error.startswith(MISSING):
        row = replace(row, error="")  # it may have been installed since
    missing = [name for name in contest.columns.names if name not in row.values]
    if row.error or ("no step" in row.values and not missing):
        return row
    file = contest.out / "networks" / contest.settings.file_of(row.arm, row.seed)
    if "no step" in row.values and file.exists():
        pair = torch.load(file, weights_only=False)
    else:
        row, pair = _make(contest, row)
        print(contest.write(row), flush=True)
        if pair is None:
            return row
        _keep(pair, file)
    for name in missing:
        value = measure_column(contest, name, pair, row.seed)
        row = contest.write(replace(row, values={**row.values, name: value}))
        print(row, flush=True)
    return row


def _make(contest: Contest, row: Row) -> tuple[Row, Pair | None]:
    """Make one arm's network and measure it before any step; or its error, and no network."""
    scene, macs = contest.scene, contest.settings.macs
    module = importlib.import_module(MODULE_OF[row.arm])
    try:
        made = module.make(scene, row.arm, macs, row.seed)
        share = scene.share(made.model.eval())
    except Exception as error:  # whatever a peer raises is a result of the contest
        if module in OURS:
            raise
        return replace(row, error=f"{type(error).__name__}: {first_line(error)}"), None
    if share > macs * (1 + BUDGET_TOLERANCE):
        return replace(row, error=f"the budget is missed: {share:.1%} of the multiply-adds"), None
    renewed = reestimate_norms(made.model, scene.training(NORM_IMAGES), CPU)
    values = {
        "macs": share,
        "params": count_params(made.model) / count_params(scene.model),
        "no step": contest.top1(made.model),
        "BN": contest.top1(renewed),
        "ranking": made.ranking_seconds,
        "repair": made.repair_seconds,
    }
    start = made.model if values["no step"] >= values["BN"] else renewed
    return replace(row, values={**row.values, **values}), (made.model, start)


def _keep(pair: Pair, file: Path) -> None:
    """Pickle a network where that is possible; one that cannot be is made again when needed."""
    file.parent.mkdir(exist_ok=True)
    try:
        torch.save(pair, file)
    except Exception as error:  # classes made at run time, hooks, locks
        print(f"not kept: {first_line(error)}", flush=True)
        file.unlink(missing_ok=True)


def measure_column(contest: Contest, name: str, pair: Pair, seed: int) -> float | None:
    """One column beside those before any step."""
    smaller, start = pair
    if name == "latency":
        return _times_as_fast(contest, smaller)
    number, unit = name.split()
    kind = "max_batches" if unit == "batches" else "epochs"
    return contest.after(start, seed, **{kind: int(number)})


def _times_as_fast(contest: Contest, smaller: nn.Module) -> float | None:
    try:
        return measure_latency(contest.scene, smaller, contest.columns.bench_seconds)["ratio"]
    except Exception as error:  # a network that does not export is a result, too
        print(f"no latency: {first_line(error)}", flush=True)
        return None


def run(
    settings: Settings, columns: Columns, arms: list[str], seeds: list[int], out: Path
) -> list[Row]:
    """Measure what is not in OUT/rows.jsonl yet, and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    known = read_rows(settings, out)
    select = SelectOptions(
        images=settings.images,
        allocate=settings.allocate,  # type: ignore[arg-type]  # checked where it is used
        multiple=settings.multiple or None,
    )
    scene = open_scene(settings.model, settings.data, select, out)
    contest = Contest(settings, columns, scene, out)
    rows = []
    for seed in seeds:
        for arm in arms:
            rows.append(measure_row(contest, known.get((arm, seed), Row(arm, seed))))
            write_results(settings, rows, out)
    return rows


def write_results(settings: Settings, rows: list[Row], out: Path) -> None:
    """Table, rows and picture of one budget."""
    name = f"{settings.macs:g}"
    (out / f"{name}.md").write_text(table(rows))
    document = {"settings": asdict(settings), "rows": [asdict(row) for row in rows]}
    (out / f"{name}.json").write_text(json.dumps(document, indent=1))
    write_page(rows, out / f"{name}.html", f"{settings.macs:.0%} of the multiply-adds")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    default = Settings("", "", 0.4)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True)
    add("--data", required=True)
    add("--macs", type=float, default=default.macs, help="share of the multiply-adds left")
    add("--images", type=int, default=default.images, help="of the statistics")
    add("--batches", type=int, default=0, help="of SGD; 0 for none")
    add("--epochs", type=int, nargs="*", default=[], help="of SGD; a training for each number")
    add("--bench-seconds", type=float, default=0.0, help="of latency; 0 for none")
    add("--lr", type=float, default=default.lr)
    add("--mixup", type=float, default=default.mixup)
    add("--distill", type=float, default=default.distill, help="share of the original's answers")
    add("--allocate", default=default.allocate, help="of our arms: output, sr, error or uniform")
    add("--multiple", type=int, default=1, help="of our widths; 0: as round as the job's")
    add("--test-images", type=int, default=None, help="default: the whole part")
    add("--arms", nargs="+", choices=list(MODULE_OF), default=list(MODULE_OF), metavar="ARM")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--out", type=Path, required=True)
    return parser.parse_args(argv)


def main() -> None:
    given = parse()
    names = ("model", "data", "macs", "images", "lr", "mixup", "distill", "allocate", "multiple")
    settings = Settings(
        **{name: getattr(given, name) for name in (*names, "test_images")},
    )
    columns = Columns(given.batches, tuple(given.epochs), given.bench_seconds)
    print(table(run(settings, columns, given.arms, given.seeds, given.out)))


if __name__ == "__main__":
    main()
