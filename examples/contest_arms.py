"""The arms of the contest (see contest.py): networks of one budget, ours and the peers'."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from prune_dl.prune.budget import Budget
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.job.repair_and_check import REFIT_IMAGES
from prune_dl.prune.mechanism.files import load_spectrum, save_spectrum
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import Statistics, load_statistics, save_statistics
from prune_dl.prune.options import DataOptions, NetworkOptions, RunOptions
from prune_dl.prune.progress import RunLog
from prune_dl.prune.repair.norms import find_norm_behind
from prune_dl.prune.repair.refit import RefitImages, refit
from prune_dl.prune.repair.repair import repair
from prune_dl.prune.selection.allocate import Layout, allocate
from prune_dl.prune.selection.criteria import rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
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
        """Units of every group of the whole network."""
        return torch.tensor([len(group.units) for group in self.structure.groups])


def prepare(checkpoint: str, data_set: str, num_images: int, out: Path) -> Scene:
    """Load, trace and measure on so many images, once for all arms and budgets."""
    where = NetworkOptions(checkpoint), DataOptions(data_set), RunOptions(device="cpu")
    _, case = open_case(*where, RunLog())
    model, data = case.model, case.data
    structure = trace(model, torch.zeros(2, *data.input_size))
    kept = [out / f"{what}-{num_images}.safetensors" for what in ("statistics", "spectrum")]
    if not all(path.exists() for path in kept):
        statistics, spectrum = measure(
            TracedNetwork(model, structure, len(data.labels), CPU),
            data.train.batches(250, device=CPU, limit=num_images),
            data.held_out.batches(250, device=CPU, limit=num_images // 2),
        )
        save_statistics(statistics, kept[0])
        save_spectrum(spectrum, kept[1])
    statistics, spectrum = load_statistics(kept[0]), load_spectrum(kept[1])
    return Scene(model, data, structure, CostModel.of(model, structure), statistics, spectrum)


def few(scene: Scene, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of so many training images, the same ones for every arm."""
    return scene.data.train.batches(128, device=CPU, limit=images, shuffle_seed=0)


def ours(
    scene: Scene, arm: str, macs: float, seed: int, method: str
) -> tuple[nn.Module, float, float]:
    """The network of one of our arms, the share of MACs left, and the seconds of ranking."""
    criterion = arm.removesuffix("-unrepaired").removesuffix("-repaired")
    start = time.perf_counter()
    evidence = Evidence(
        scene.model, scene.structure, scene.statistics, scene.spectrum, few(scene, 1280), seed
    )
    ranking = rank_units(criterion, evidence)
    seconds = time.perf_counter() - start
    plan = allocate(
        ranking, scene.structure, scene.cost, Budget("macs", macs), Layout(method), scene.spectrum
    )
    smaller = remove(scene.model, Cut(scene.structure, plan))
    widths = torch.tensor([len(layer.kept) for layer in plan.layers]).numpy()
    share = scene.cost.macs(widths) / scene.cost.macs(scene.widths.numpy())
    return _mended(scene, smaller, plan, arm), share, seconds


def _mended(scene: Scene, smaller: nn.Module, plan: Plan, arm: str) -> nn.Module:
    """Repaired and refitted, as far as the arm says."""
    if arm.endswith("-unrepaired"):
        return smaller
    model, structure = scene.model, scene.structure
    norms = find_norm_behind(model, torch.zeros(2, *scene.data.input_size))
    smaller, _ = repair(smaller, model, Cut(structure, plan), scene.statistics, norm_behind=norms)
    if arm.endswith("-repaired"):
        return smaller
    images = [x for x, _ in few(scene, REFIT_IMAGES)]
    refitted, _ = refit(
        smaller, model, Cut(structure, plan), RefitImages(images), norm_behind=norms
    )
    return refitted


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
