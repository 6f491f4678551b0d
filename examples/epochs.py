"""What every epoch of retraining brings: test accuracy of several starts, one recipe for all.

    prune-dl --model net.pt --data cifar10/ --macs 0.5 --epochs 0 --out repaired/
    prune-dl --model net.pt --data cifar10/ --macs 0.5 --epochs 0 --rank l1 --no-repair --out l1/
    python examples/epochs.py --model net.pt --data cifar10/ --epochs 10 \
        --starts repaired/ l1/ --out epochs/

Every start is the folder of a run without training, or its model.safetensors. All of them are
trained by the job's own recipe, with the original as teacher, the same images, order and seed. The
test part is measured after each epoch and decides nothing: all epochs run, and the last one counts.
Rows go to OUT/NAME.jsonl, one for each epoch, and OUT/NAME.resume keeps the state, so that a second
call with the same options goes on where the first was stopped. The table is printed and written to
OUT/epochs.md.

Accuracies are measured as the training computes: in bfloat16 where the processor has it.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_dl.prune import load
from prune_dl.prune.command.opening import model_file, open_case
from prune_dl.prune.inputs.identity import weights_digest
from prune_dl.prune.job.known import Case
from prune_dl.prune.options import DataOptions, NetworkOptions, RunOptions
from prune_dl.prune.progress import RunLog
from prune_dl.prune.training.recipe import Training, retraining
from prune_dl.prune.training.train import (
    Journal,
    TrainingData,
    measure_while_training,
    train_network,
)

Rows = dict[int, float]
"""Epoch -> test accuracy, a fraction; 0 is the start."""


@dataclass(frozen=True)
class Start:
    """A network to be trained, and where its rows and its state are kept."""

    path: Path
    out: Path

    @property
    def name(self) -> str:
        """The name of its folder or file."""
        return self.path.stem

    @property
    def rows_file(self) -> Path:
        """A line of JSON for each epoch."""
        return self.out / f"{self.name}.jsonl"


def train_start(start: Start, original: Case, recipe: Training) -> Rows:
    """Test accuracy before the first epoch and after each."""
    model = load(model_file(str(start.path))).to(original.device)
    digests = {"`model`": original.digest, "`starts`": weights_digest(model)}
    rows: list[dict[str, Any]] = []

    def note(row: dict[str, Any]) -> None:
        rows.append({"epoch": row["epoch"], "top1": row["held_out_top1"], **row})
        start.rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(f"{start.name}: epoch {row['epoch']}: {row['held_out_top1']:.2%}", flush=True)

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
            resume=start.out / f"{start.name}.resume",
            belongs_to=digests,
        ),
    )
    return {0: before.value, **{row["epoch"]: row["top1"] for row in rows}}


def table_of(rows: dict[str, Rows]) -> str:
    """Markdown: an epoch a row, a start a column, per cent."""
    epochs = sorted({epoch for of_start in rows.values() for epoch in of_start})
    lines = ["| epoch | " + " | ".join(rows) + " |", "|" + "---|" * (len(rows) + 1)]
    for epoch in epochs:
        cells = [f"{100 * of[epoch]:.2f}" if epoch in of else "" for of in rows.values()]
        lines.append(f"| {epoch} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def compare_starts(original: Case, starts: list[Path], recipe: Training, out: Path) -> str:
    """Train every start, and the table of all."""
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Rows] = {}
    for path in starts:
        start = Start(path, out)
        rows[start.name] = train_start(start, original, recipe)
        (out / "epochs.md").write_text(table_of(rows))
    return table_of(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="the original: the teacher of all")
    parser.add_argument("--data", required=True)
    parser.add_argument("--starts", nargs="+", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, help="default: the job's")
    parser.add_argument("--averaging", type=float, help="default: the job's")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    changes = {name: getattr(given, name) for name in ("lr", "averaging")}
    recipe = retraining(
        given.epochs,
        seed=given.seed,
        **{name: value for name, value in changes.items() if value is not None},
    )
    run = RunOptions(device="auto", seed=given.seed)
    _, original = open_case(NetworkOptions(given.model), DataOptions(given.data), run, RunLog())
    print(compare_starts(original, given.starts, recipe, given.out))


if __name__ == "__main__":
    main()
