"""Test accuracy after every epoch: of a repaired network, and of L1's choice without repair.

    prune-dl --model net.pt --data cifar10/ --macs 0.5 --epochs 0 --out start/
    python examples/epochs.py --model net.pt --data cifar10/ --start start/ --out epochs/

"repaired" is the network of a run without training. "l1" has the same widths: in every layer the
filters with the largest weights stay, and nothing is repaired. Both are trained by the job's own
recipe, with the original as teacher, the same images, order and seed. The test part is measured
after each epoch and decides nothing: all epochs run, and the last one counts. Rows go to
OUT/ARM.jsonl, one for each epoch, and OUT/ARM.resume keeps the state, so that a second call with
the same options goes on where the first was stopped. The table is printed and written to
OUT/epochs.md.

Accuracies are measured as the training computes: in bfloat16 where the processor has it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from prune_dl.prune import load
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.inputs.identity import weights_digest
from prune_dl.prune.job.known import Case
from prune_dl.prune.options import DataOptions, NetworkOptions, RunOptions
from prune_dl.prune.progress import RunLog
from prune_dl.prune.selection.allocate import plan_of
from prune_dl.prune.selection.criteria import rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.training.recipe import Training, retraining
from prune_dl.prune.training.train import (
    Journal,
    TrainingData,
    measure_while_training,
    train_network,
)
from torch import nn

Rows = dict[int, float]
"""Epoch -> test accuracy, a fraction; 0 is the start."""


def repaired(_: Case, run: Path) -> nn.Module:
    """The network of the run."""
    return load(run / "model.safetensors")


def l1(original: Case, run: Path) -> nn.Module:
    """The filters with the largest weights, as many in every layer as in the run."""
    widths = [len(layer.kept) for layer in Plan.from_json((run / "plan.json").read_text()).layers]
    structure = trace(original.model, original.example)
    ranking = rank_units("l1", Evidence(original.model, structure), curves=False)
    return remove(original.model, Cut(structure, plan_of(ranking, structure, widths)))


ARMS = {"repaired": repaired, "l1": l1}
RECIPE = (
    "lr",
    "weight_decay",
    "label_smoothing",
    "warm_up",
    "distill",
    "temperature",
    "mixup",
    "averaging",
)
"""Values of the recipe (`prune/training/recipe.py`) that can be given."""


def train_arm(name: str, model: nn.Module, original: Case, recipe: Training, out: Path) -> Rows:
    """Test accuracy before the first epoch and after each."""
    model = model.to(original.device)
    digests = {"`model`": original.digest, "`start`": weights_digest(model)}
    rows: list[dict[str, Any]] = []
    file = out / f"{name}.jsonl"

    def note(row: dict[str, Any]) -> None:
        rows.append({"epoch": row["epoch"], "top1": row["held_out_top1"], **row})
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(f"{name}: epoch {row['epoch']}: {row['held_out_top1']:.2%}", flush=True)

    before = measure_while_training(model, original.data.test, original.device)
    train_network(
        model,
        TrainingData(original.data.train, original.data.test),  # measured; without patience no more
        recipe,
        device=original.device,
        teacher=original.model,
        journal=Journal(
            log=note,
            past=note,
            resume=out / f"{name}.resume",
            belongs_to=digests,
        ),
    )
    return {0: before.value, **{row["epoch"]: row["top1"] for row in rows}}


def table_of(rows: dict[str, Rows]) -> str:
    """Markdown: an epoch a row, an arm a column, per cent."""
    epochs = sorted({epoch for of_arm in rows.values() for epoch in of_arm})
    lines = ["| epoch | " + " | ".join(rows) + " |", "|" + "---|" * (len(rows) + 1)]
    for epoch in epochs:
        cells = [f"{100 * of[epoch]:.2f}" if epoch in of else "" for of in rows.values()]
        lines.append(f"| {epoch} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="the original: the teacher of all")
    parser.add_argument("--arch", help="where the file does not say it")
    parser.add_argument("--data", required=True)
    parser.add_argument("--mean", type=float, nargs="+", help="where the file does not say it")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--start", type=Path, required=True, help="a run with --epochs 0")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    for name in RECIPE:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help="default: the job's")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    changes = {name: getattr(given, name) for name in RECIPE}
    recipe = retraining(
        given.epochs,
        seed=given.seed,
        **{name: value for name, value in changes.items() if value is not None},
    )
    run = RunOptions(device="auto", seed=given.seed)
    scale = {name: tuple(getattr(given, name)) for name in ("mean", "std") if getattr(given, name)}
    network = NetworkOptions(given.model, arch=given.arch)
    _, original = open_case(network, DataOptions(given.data, **scale), run, RunLog())
    given.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Rows] = {}
    for name in given.arms:
        start = ARMS[name](original, given.start)
        rows[name] = train_arm(name, start, original, recipe, given.out)
        (given.out / "epochs.md").write_text(table_of(rows))
    print(table_of(rows))


if __name__ == "__main__":
    main()
