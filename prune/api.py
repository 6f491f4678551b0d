"""The Python API: the job on live networks and the user's own data loaders."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from .errors import InputError, UsageError
from .folder import Diary
from .inputs.loaders import LoaderSplit
from .inputs.origin import Origin
from .inputs.pruned_file import load as load_recipe
from .inputs.pruned_file import save as save_recipe
from .inputs.split import DataSet, hold_out
from .job.plan import Planned
from .job.stages import Outcome
from .job.steps import plan_and_carry_out
from .mechanism.spectrum import Spectrum, measure
from .options import BenchOptions, RetrainOptions, SelectOptions
from .selection.allocate import allocate
from .selection.criteria import rank_units
from .selection.custom import name_of
from .selection.evidence import Evidence
from .structure.certificate import Certificate, certify
from .structure.cost import CostModel
from .structure.cut import Cut
from .structure.plan import Plan
from .structure.surgery import remove
from .structure.tracing.trace import trace
from .structure.units import Structure
from .training.device import pick_device


@dataclass(frozen=True)
class Shrunk:
    """A smaller network and the proof of what was done.

    Attributes:
        model: the smaller network, of the same class; the original is unchanged.
        plan: which filters stay, by layer.
        certificate: whether removing them equals masking them.
        kept_whole: layer -> why some or all of its filters could not be removed.
        structure: what was traced, for those who want to look.
    """

    model: nn.Module
    plan: Plan
    certificate: Certificate
    kept_whole: dict[str, str]
    structure: Structure = field(repr=False)


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Rebuild a network that this tool saved; no pickle is read.

    Args:
        path: model.safetensors of a run.
        model: a fresh, unpruned network of the architecture, where the file names none.

    Raises:
        InputError: the file cannot be used, or the network does not fit it.
    """
    return load_recipe(Path(path), model)


def shrink(
    model: nn.Module,
    example_inputs: Any,
    keep: float = 0.6,
    criterion: str = "l1",
    seed: int = 0,
) -> Shrunk:
    """Remove filters by their weights alone: no data, no repair, no training.

    Args:
        model: any network; it is not changed.
        example_inputs: what one call of it takes: a tensor, a tuple or a dictionary.
        keep: share of the filters kept in every layer, above 0 and at most 1.
        criterion: "l1", "l2", "bn-scale", "fpgm", "lamp" or "random".
        seed: of "random".

    Raises:
        UsageError: `keep` or `criterion` is out of range.
        InputError: the network does not run on the inputs.
    """
    if not 0 < keep <= 1:
        raise UsageError(f"keep={keep} given; expected a share above 0 and at most 1, like 0.6")
    structure = trace(model, example_inputs)
    ranking = rank_units(criterion, Evidence(model, structure, seed=seed))
    plan = allocate(ranking, structure, CostModel.of(model, structure), keep=keep, method="uniform")
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), example_inputs)
    return Shrunk(smaller, plan, certificate, dict(structure.kept_whole), structure)


def rank(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    held_out: Iterable[tuple[Tensor, Tensor]],
    num_labels: int,
    *,
    device: str = "auto",
) -> Spectrum:
    """The mechanism of a network: success rate of every layer, label matrix of every filter.

    Args:
        batches: inputs (N, ...) float32 and labels (N,) int64 that the probes are solved on.
        held_out: the same, for success rates and fields.
        num_labels: K; labels lie in 0..K-1.

    Raises:
        InputError: no batches, or nothing to remove.
    """
    place = pick_device(device)
    model.to(place)
    train = iter(batches)
    first = next(train, None)
    if first is None:
        raise InputError("batches is empty; give at least one pair of inputs and labels")
    structure = trace(model, first[0][:8].to(place))
    _, spectrum = measure(
        model, structure, _chain(first, train), held_out, num_labels, device=place
    )
    return spectrum


@dataclass(frozen=True)
class Compressed:
    """What `compress` gives back.

    Attributes:
        model: the final network. outcome: the networks of every stage, the certificate and
            held-out accuracies. planned: structure, statistics, ranking and plan.
        warnings: every compromise in a line.
    """

    model: nn.Module
    outcome: Outcome = field(repr=False)
    planned: Planned = field(repr=False)
    warnings: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write weights and kept filters; `load(path, model=fresh_network)` rebuilds it."""
        origin = Origin(
            arch=None, num_labels=self.planned.spectrum.num_labels, cut=self.planned.cut
        )
        kept = Cut(self.planned.structure, self.planned.plan).kept
        save_recipe(Path(path), self.model, origin, kept, {"plan": self.planned.plan.digest})


def compress(
    model: nn.Module,
    train: DataLoader[Any],
    num_labels: int,
    *,
    keep: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    held_out: DataLoader[Any] | None = None,
    epochs: int = 10,
    rank: str | Callable[..., Any] = "mechanism",
    steps: int = 1,
    cut_depth: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    **options: Any,
) -> Compressed:
    """The whole job on your own network and data loaders, without files.

    Args:
        model: a trained classifier (N, ...) -> (N, K); it is not changed.
        train: gives inputs and labels as the network takes them, augmented as you like.
        num_labels: K.
        keep, macs, params: exactly one: share of filters, multiply-adds or parameters kept; or
            else `latency_ms` or `max_drop`, see below.
        held_out: makes every choice; default: a tenth of `train`'s data set, taken out of it.
        epochs: of retraining; 0 for none.
        rank: what ranks filters, as `--rank` takes it; or a function of yours, from the top level
            of its module (its parameters: `prune/selection/custom.py`).
        cut_depth: also take out layers that bring no success rate (the end, or residual
            branches), where the network is better for it at the same budget.
        steps: reach the budget in so many steps, with an epoch of retraining between two.
        progress: draw progress bars on stderr.
        **options: any other flag of `prune-dl` that chooses filters, retrains or measures latency,
            by its name: `max_drop=1.0`, `allocate="error"`, `lr=0.01`, `mixup=0.2`, ...

    Raises:
        UsageError, InputError, GateError: as the command does.
    """
    select, retrain, bench = _options(
        {
            **{"keep": keep, "macs": macs, "params": params, "steps": steps, "epochs": epochs},
            **{"rank": rank if isinstance(rank, str) else name_of(rank), "cut_depth": cut_depth},
            **{"batch_size": train.batch_size or 128, **options},
        }
    )
    place = pick_device(device)
    model = model.to(place)
    data = _data_of(train, held_out, num_labels, seed)
    diary = Diary(show=progress)
    planned, outcome = plan_and_carry_out(
        model, data, select, retrain, device=place, seed=seed, diary=diary, bench=bench
    )
    return Compressed(outcome.final, outcome, planned, tuple(diary.warnings))


def _options(given: dict[str, Any]) -> tuple[SelectOptions, RetrainOptions, BenchOptions]:
    """Options by their flags' names, each where it belongs.

    Raises UsageError for names that no flag has.
    """
    kinds = (SelectOptions, RetrainOptions, BenchOptions)
    known = [{field.name for field in fields(kind)} for kind in kinds]
    unknown = sorted(set(given).difference(*known))
    if unknown:
        raise UsageError(
            f"compress({unknown[0]}=...) given; expected one of "
            f"{', '.join(sorted(set().union(*known)))}"
        )
    select, retrain, bench = (
        {name: value for name, value in given.items() if name in names} for names in known
    )
    return SelectOptions(**select), RetrainOptions(**retrain), BenchOptions(**bench)


def _chain(first: Any, rest: Iterable[Any]) -> Iterable[Any]:
    yield first
    yield from rest


def _data_of(
    train: DataLoader[Any], held_out: DataLoader[Any] | None, num_labels: int, seed: int
) -> DataSet:
    """The loaders as splits; without a held-out loader, a tenth of the training data set."""
    learning: Any = train.dataset
    deciding: Any = None if held_out is None else held_out.dataset
    if deciding is None:
        labels_N = torch.tensor([int(learning[i][1]) for i in range(len(learning))])
        kept, out = hold_out(labels_N, 0.1, seed)
        learning, deciding = Subset(learning, kept.tolist()), Subset(learning, out.tolist())
    splits = [LoaderSplit(x, train.num_workers, train.collate_fn) for x in (learning, deciding)]
    size = tuple(int(n) for n in learning[0][0].shape)
    names = tuple(str(label) for label in range(num_labels))
    return DataSet("your loaders", names, size, (), (), splits[0], splits[1], splits[1])  # type: ignore[arg-type]
