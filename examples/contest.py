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
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from contest_page import table, write_page
from prune_dl.evaluate.accuracy import measure_accuracy
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import DataSet, open_data
from prune_dl.prune.mechanism.files import load_spectrum, save_spectrum
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.mechanism.statistics import load as load_statistics
from prune_dl.prune.mechanism.statistics import save as save_statistics
from prune_dl.prune.mending import REFIT_IMAGES
from prune_dl.prune.selection.allocate import allocate
from prune_dl.prune.selection.criteria import rank
from prune_dl.prune.selection.norms import find_norm_behind, reestimate_norms
from prune_dl.prune.selection.refit import refit
from prune_dl.prune.selection.repair import repair
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.plan import Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.trace import trace
from prune_dl.prune.structure.units import Structure
from prune_dl.prune.training.device import autocast
from prune_dl.prune.training.train import Training, fit, retraining
from torch import Tensor, nn

CPU = torch.device("cpu")
OURS = (
    *("mechanism", "mechanism-repaired", "mechanism-unrepaired"),
    *("response", "label-loss", "snr", "sharpness"),
    *("l1", "l2", "bn-scale", "taylor", "fpgm", "lamp", "random"),
    *("l1-unrepaired", "l2-unrepaired", "bn-scale-unrepaired", "taylor-unrepaired"),
    *("fpgm-unrepaired", "lamp-unrepaired", "random-unrepaired"),
)
PEERS = ("tp-l1", "tp-l2", "tp-bn-scale", "tp-taylor", "tp-fpgm", "tp-lamp", "tp-random")


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


@dataclass(frozen=True)
class Scene:
    """What all arms share."""

    model: nn.Module
    data: DataSet
    structure: Structure
    cost: CostModel
    statistics: Statistics
    spectrum: Spectrum

    @property
    def widths(self) -> Tensor:
        return torch.tensor([len(group.units) for group in self.structure.groups])


def prepare(settings: Settings, out: Path) -> Scene:
    """Load, trace and measure, once for all arms and budgets."""
    data = open_data(settings.data)
    model = load_checkpoint(settings.model, num_labels=len(data.labels)).model.eval()
    model = model.to(memory_format=torch.channels_last)
    structure = trace(model, torch.zeros(2, *data.input_size))
    kept = [out / f"{what}-{settings.images}.safetensors" for what in ("statistics", "spectrum")]
    if not all(path.exists() for path in kept):
        statistics, spectrum = measure(
            model,
            structure,
            data.train.batches(250, device=CPU, limit=settings.images),
            data.held_out.batches(250, device=CPU, limit=settings.images // 2),
            len(data.labels),
            device=CPU,
        )
        save_statistics(statistics, kept[0])
        save_spectrum(spectrum, kept[1])
    statistics, spectrum = load_statistics(kept[0]), load_spectrum(kept[1])
    return Scene(model, data, structure, CostModel.of(model, structure), statistics, spectrum)


def few(scene: Scene, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    return scene.data.train.batches(128, device=CPU, limit=images, shuffle_seed=0)


def ours(scene: Scene, arm: str, macs: float, seed: int) -> tuple[nn.Module, float, float]:
    """The network of one of our arms, the share of MACs left, and the seconds of ranking."""
    criterion = arm.removesuffix("-unrepaired").removesuffix("-repaired")
    start = time.perf_counter()
    ranking = rank(
        criterion,
        scene.model,
        scene.structure,
        statistics=scene.statistics,
        spectrum=scene.spectrum,
        batches=few(scene, 1280),
        seed=seed,
    )
    seconds = time.perf_counter() - start
    plan = allocate(ranking, scene.structure, scene.cost, macs=macs, spectrum=scene.spectrum)
    smaller = remove(scene.model, scene.structure, plan)
    widths = torch.tensor([len(layer.kept) for layer in plan.layers]).numpy()
    share = scene.cost.macs(widths) / scene.cost.macs(scene.widths.numpy())
    return _mended(scene, smaller, plan, arm), share, seconds


def _mended(scene: Scene, smaller: nn.Module, plan: Plan, arm: str) -> nn.Module:
    """Repaired and refitted, as far as the arm says."""
    if arm.endswith("-unrepaired"):
        return smaller
    model, structure = scene.model, scene.structure
    norms = find_norm_behind(model, torch.zeros(2, *scene.data.input_size))
    smaller, _ = repair(smaller, model, structure, plan, scene.statistics, norm_behind=norms)
    if arm.endswith("-repaired"):
        return smaller
    images = [x for x, _ in few(scene, REFIT_IMAGES)]
    return refit(smaller, model, structure, plan, images, norm_behind=norms)[0]


def peer(scene: Scene, arm: str, macs: float, seed: int) -> tuple[nn.Module, float, float]:
    """The same for Torch-Pruning: its own dependency graph, global ranking, in small steps."""
    import torch_pruning as tp

    torch.manual_seed(seed)
    model = copy.deepcopy(scene.model)
    importance = {
        "tp-l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
        "tp-l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
        "tp-bn-scale": lambda: tp.importance.BNScaleImportance(),
        "tp-taylor": lambda: tp.importance.GroupTaylorImportance(),
        "tp-fpgm": lambda: tp.importance.FPGMImportance(),
        "tp-lamp": lambda: tp.importance.LAMPImportance(),
        "tp-random": lambda: tp.importance.RandomImportance(),
    }[arm]()
    example = torch.zeros(1, *scene.data.input_size)
    ignored = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance,
        global_pruning=arm != "tp-random",
        pruning_ratio=0.95,
        max_pruning_ratio=0.95,
        iterative_steps=200,
        ignored_layers=ignored,
    )
    whole = tp.utils.count_ops_and_params(model, example)[0]
    start, share = time.perf_counter(), 1.0
    while share > macs and pruner.current_step < pruner.iterative_steps:
        if arm == "tp-taylor":
            accumulate_gradients(model, few(scene, 1280))
        pruner.step()
        share = tp.utils.count_ops_and_params(model, example)[0] / whole
    model.zero_grad()
    return model, share, time.perf_counter() - start


def accumulate_gradients(model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Taylor's first-order terms; kept after the first step, as Torch-Pruning's own scripts do."""
    if all(parameter.grad is not None for parameter in model.parameters()):
        return
    for images, labels in batches:
        nn.functional.cross_entropy(model(images), labels).backward()


def measure_row(scene: Scene, settings: Settings, arm: str, seed: int) -> Row:
    """Make one arm's network and measure every column."""
    if not arm.startswith("tp-"):
        return measure_network(scene, settings, arm, seed, *ours(scene, arm, settings.macs, seed))
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
        return top1(fit(trained, scene.data.train, recipe, device=CPU, teacher=scene.model))

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
    scene = prepare(settings, out) if wanted else None
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
        given.test_images,
    )
    print(table(run(settings, given.arms, given.seeds, given.out)))


if __name__ == "__main__":
    main()
