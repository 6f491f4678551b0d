"""What all arms of the contest share (see contest.py): network, data, measurements, counts."""

import copy
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from prune_dl.evaluate.measure.latency import compare
from prune_dl.export.graph import export_onnx
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.files import write_json
from prune_dl.prune.inputs.identity import data_facts
from prune_dl.prune.job.kept import Form, Kept
from prune_dl.prune.job.known import Case, Measured
from prune_dl.prune.job.plan import find_sensitivity, measure_images
from prune_dl.prune.options import (
    BenchOptions,
    DataOptions,
    NetworkOptions,
    RunOptions,
    SelectOptions,
    Settings,
)
from prune_dl.prune.progress import RunLog
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CPU = torch.device("cpu")
SCORE_IMAGES = 500
"""Held-out images that peers which search by accuracy are scored on."""
GRADIENT_IMAGES = 1280
"""Training images that the peers' gradients are taken on."""


@dataclass(frozen=True)
class Made:
    """A smaller network, and the seconds that ranking and repair took.

    Attributes:
        repair_seconds: None where the tool ranks and repairs in one call, or does not repair.
    """

    model: nn.Module
    ranking_seconds: float
    repair_seconds: float | None = None


@dataclass(frozen=True)
class Scene:
    """What all arms share. The network is never changed.

    Attributes:
        case: network, data and device, as the job holds them, and where measurements are kept.
        select: how our arms choose; the rank is each arm's own.
    """

    case: Case
    select: SelectOptions

    @cached_property
    def measured(self) -> Measured:
        """Structure, statistics and sensitivities, as the job measures them, for our arms: once."""
        start = time.perf_counter()
        case, select = self.case, self.select
        measured = measure_images(case, Settings(select=select))
        if select.allocate == "output":
            weights = case.kept.once(
                f"sensitivity-{case.digest}.json",
                lambda: find_sensitivity(case, measured, select),
                Form(lambda found, place: write_json(place, found), read_json),
            )
            measured = replace(measured, sensitivity=weights)
        print(f"measured in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        return measured

    @property
    def model(self) -> nn.Module:
        """The original."""
        return self.case.model

    @property
    def example(self) -> Tensor:
        """One empty image."""
        return torch.zeros(1, *self.case.data.input_size)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of the original."""
        return count_macs(self.model, self.example)

    def share(self, model: nn.Module) -> float:
        """Multiply-adds of a network, as a share of the original's."""
        return count_macs(model, self.example) / self.macs

    def copied(self, seed: int) -> nn.Module:
        """A copy of the original for a peer to work on, in plain memory format."""
        torch.manual_seed(seed)
        return copy.deepcopy(self.model).to(memory_format=torch.contiguous_format).eval()

    def training(self, images: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of so many training images, the same ones for every arm."""
        return self.case.data.train.batches(128, device=CPU, limit=images, shuffle_seed=0)

    @cached_property
    def scoring(self) -> list[tuple[Tensor, Tensor]]:
        """Held-out images for the peers that search by accuracy."""
        return list(self.case.held_out(SCORE_IMAGES))

    def score(self, model: nn.Module) -> float:
        """Held-out accuracy on these, a fraction."""
        with torch.no_grad():
            right = [(model(x).argmax(1) == y).float().mean() for x, y in self.scoring]
        return float(torch.stack(right).mean())


def widest_within(
    scene: Scene, macs: float, prune: Callable[[float], nn.Module], trials: int
) -> nn.Module:
    """The widest network within a budget, of a tool that counts something else.

    Args:
        prune: share of what the tool counts -> network; whatever it raises means too little.
        trials: each halves the shares that are left.

    Raises:
        Exception: the tool's own, where no share leads to the budget.
    """
    low, high = 0.0, 1.0
    best: nn.Module | None = None
    problem: Exception = ValueError(f"no share leads to {macs:.0%} of the multiply-adds")
    for _ in range(trials):
        share = (low + high) / 2
        try:
            model = prune(share)
        except ImportError:
            raise
        except Exception as error:  # each tool has its own for a budget that is too small
            low, problem = share, error
            continue
        if scene.share(model) <= macs:
            low, best = share, model
        else:
            high = share
    if best is None:
        raise problem
    return best


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Multiply-adds of a forward pass of any network, the same count for every tool's."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(example)
    return counter.get_total_flops() // 2


def count_params(model: nn.Module) -> int:
    """Parameters, buffers not counted."""
    return sum(parameter.numel() for parameter in model.parameters())


def open_scene(checkpoint: str, data_set: str, select: SelectOptions, out: Path) -> Scene:
    """Network and data; what is measured on them is kept in OUT, for all arms and budgets."""
    where = NetworkOptions(checkpoint), DataOptions(data_set), RunOptions(device="cpu")
    _, case = open_case(*where, RunLog())
    facts = [data_facts(case.data), select.images, case.seed]
    digest = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:12]
    return Scene(replace(case, kept=Kept(out / f"measured-{digest}", seconds=0.0)), select)


def read_json(place: Path) -> dict[str, float]:
    """Numbers by name."""
    found: dict[str, float] = json.loads(place.read_text())
    return found


def measure_latency(scene: Scene, model: nn.Module, seconds: float) -> dict[str, float]:
    """How many times as fast as the original, both in turns, with its 95 % interval."""
    with TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("original", "smaller")}
        for (_, path), network in zip(files.items(), (scene.model, model), strict=True):
            export_onnx(network, scene.case.data.input_size, path, metadata={})
        found = compare(files, BenchOptions(bench_seconds=seconds))
    return {name: asdict(found)[name] for name in ("ratio", "ratio_low", "ratio_high")}
