"""The Python API: the job on live networks and the user's own data loaders."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from torch import nn
from torch.utils.data import DataLoader

from .budget import Budget
from .by_outputs import Asked, Metric, compress_by_outputs
from .chosen_output import choose_output, output_hooked, without_choice
from .errors import UsageError
from .forward import first_rows
from .inputs.items import ItemReader
from .inputs.live import read_live, read_loaders
from .inputs.origin import Origin
from .inputs.pruned_file import load_pruned, save_pruned
from .inputs.split import Batches
from .job.known import EXAMPLES, Case, Planned
from .job.stages import Outcome
from .job.steps import plan_and_carry_out
from .job_options import JobOptions, as_layers, check_inputs, settings_of_call
from .mechanism.network import TracedNetwork
from .mechanism.spectrum import Spectrum, measure
from .options import RetrainOptions
from .outputs import require_classifier
from .progress import RunLog
from .selection.allocate import Layout, allocate
from .selection.criteria import WEIGHT_CRITERIA, rank_units
from .selection.evidence import Evidence
from .settling.answers import answers_of
from .settling.labels import label_notes, notes_of
from .settling.opened import SETTLING_IMAGES
from .structure.certificate import Certificate, certify
from .structure.choice import Choice
from .structure.cost import CostModel
from .structure.cut import Cut
from .structure.finite import check_finite_weights
from .structure.plain import as_plain
from .structure.plan import Plan
from .structure.precision import as_float32
from .structure.surgery import remove
from .structure.tracing.trace import trace
from .structure.units import Structure
from .tasks import Task, settle_outputs
from .training.device import pick_device
from .training.optimizer import remap_optimizer as remap_optimizer

"""Of the training images, where no held-out loader is given: as the command's `held_out`."""


@dataclass(frozen=True)
class Shrunk:
    """A smaller network and the proof of what was done.

    Attributes:
        model: the smaller network, of the same class; the original is unchanged.
        plan: which filters stay, by layer.
        certificate: whether removing them equals masking them.
        kept_whole: layer -> why some or all of its filters could not be removed.
        cut: what was removed and what was kept, and the structure that was traced.
        notes: what has to be said of the network, in a line each.
    """

    model: nn.Module
    plan: Plan
    certificate: Certificate
    kept_whole: dict[str, str]
    cut: Cut = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def structure(self) -> Structure:
        """What was traced, for those who want to look."""
        return self.cut.structure


def load(
    path: str | Path, model: nn.Module | None = None, *, trust_file: bool = False
) -> nn.Module:
    """Rebuild a network that this tool saved; no pickle is read, and no code that the file names.

    Args:
        path: model.safetensors of a run.
        model: a fresh, unpruned network of the architecture, where the file names none, or names
            code of your own.
        trust_file: build an architecture package.module:callable that the file names.

    Raises:
        InputError: the file cannot be used, it names code and is not trusted, or the network does
            not fit it.
    """
    return load_pruned(Path(path), model, trust_file=trust_file)


def shrink(
    model: nn.Module,
    example_inputs: Any,
    keep: float = 0.6,
    criterion: str = "l1",
    seed: int = 0,
    *,
    whole: Sequence[str] = (),
    only: Sequence[str] = (),
    at_least: int = 1,
) -> Shrunk:
    """Remove filters by their weights alone: no data, no repair, no training.

    Args:
        model: any network; it is not changed.
        example_inputs: what one call of it takes: a tensor, a tuple, a list or a dictionary.
        keep: share of the filters kept in every layer, above 0 and at most 1.
        criterion: "l1", "l2", "bn-scale", "fpgm", "lamp" or "random".
        seed: of "random".
        whole: layers that keep all of their filters: names, modules with layers in them, or
            patterns such as "layer4.*.conv1".
        only: or the only layers that filters are removed from.
        at_least: filters that every layer keeps at the least.

    Raises:
        UsageError: `keep`, `criterion` or `at_least` is out of range, or a name is of no layer.
        InputError: the network does not run on the inputs.
    """
    budget = Budget("keep", keep)
    if criterion not in (*WEIGHT_CRITERIA, "random"):
        known = ", ".join((*WEIGHT_CRITERIA, "random"))
        raise UsageError(
            f"`criterion={criterion}` given; expected one of {known}, which need no data; "
            "others need some: use compress"
        )
    plain = as_plain(model)
    model = plain.model
    check_finite_weights(model)
    chosen = Choice(as_layers(whole), as_layers(only))
    chosen.check(model)
    structure = trace(model, example_inputs, chosen)
    ranking = rank_units(criterion, Evidence(model, structure, seed=seed), curves=False)
    cost = CostModel.of(model, structure)
    plan = allocate(ranking, structure, cost, budget, Layout("uniform", at_least=at_least))
    cut = Cut(structure, plan)
    smaller = remove(model, cut)
    certificate = certify(model, smaller, cut, example_inputs)
    return Shrunk(smaller, plan, certificate, dict(structure.kept_whole), cut, plain.notes)


def rank(
    model: nn.Module,
    batches: Iterable[Any],
    held_out: Iterable[Any],
    num_labels: int,
    *,
    device: str = "auto",
    output: str | None = None,
) -> Spectrum:
    """The mechanism of a network: success rate of every layer, label matrix of every filter.

    Args:
        batches: inputs (N, ...) float32 and labels (N,) int64 that the probes are solved on; also
            dictionaries, and several inputs, as `inputs/items.py` reads them.
        held_out: the same, for success rates and fields.
        num_labels: K; labels lie in 0..K-1.
        output: which of several outputs holds the logits, as in `compress`.

    Raises:
        UsageError: no such output.
        InputError: no batches, or nothing to remove.

    Warns:
        UserWarning: the network is near chance on held-out images, or another order of the labels
            fits it better.
    """
    place = pick_device(device)
    model = as_plain(model).model
    check_finite_weights(model)
    model = as_float32(model).model.to(place)
    live = read_live(batches, held_out, ItemReader.of(model), num_labels, place)
    example = first_rows(live.first[0], EXAMPLES)
    choice = choose_output(model, example, num_labels, output)
    with output_hooked(model, choice.name):
        require_classifier(model, example, num_labels)
        settle_outputs(model, example, live.task, [live.first])
        structure = trace(model, example)
        network = TracedNetwork(model, structure, num_labels, place)
        judged, rest = _first_images(live.held_out)
        _warn_of_labels(model, judged, num_labels)
        _, spectrum = measure(network, live.train, rest)
    return spectrum


def _first_images(batches: Iterable[Any]) -> tuple[list[Any], Iterable[Any]]:
    """The first `SETTLING_IMAGES` images in batches; and all of them, which come only once."""
    rest, taken = iter(batches), list[Any]()
    while sum(len(labels_N) for _, labels_N in taken) < SETTLING_IMAGES:
        batch = next(rest, None)
        if batch is None:
            break
        taken.append(batch)
    return taken, (batch for part in (taken, rest) for batch in part)


def _warn_of_labels(model: nn.Module, batches: Batches, num_labels: int) -> None:
    """Say, as Python's warnings, what held-out batches tell of the labels."""
    answers = answers_of(model, [batches], num_labels, "held-out images")
    labels = tuple(map(str, range(num_labels)))
    for note in () if answers is None else notes_of(answers, labels):
        warnings.warn(note, stacklevel=3)


@dataclass(frozen=True)
class Compressed:
    """What `compress` gives back.

    Attributes:
        model: the final network. outcome: the networks of every stage, the certificate and
            held-out accuracies. planned: structure, statistics, ranking and plan.
        warnings: every compromise in a line.
        part: the module that was pruned, where it was not the whole: `outcome` and `planned` are
            about it alone.
        metric: stage -> what `metric` gave; empty without one.
    """

    model: nn.Module
    outcome: Outcome = field(repr=False)
    planned: Planned = field(repr=False)
    warnings: tuple[str, ...] = ()
    part: str | None = None
    metric: Mapping[str, float] = field(default_factory=dict)

    @property
    def part_model(self) -> nn.Module:
        """The part that was pruned, as it stands in `model`; that itself without a part."""
        return self.model.get_submodule(self.part or "")

    @property
    def cut(self) -> Cut:
        """What was removed and what was kept."""
        return self.planned.cut

    def save(self, path: str | Path) -> None:
        """Write weights and kept filters; `load(path, model=fresh_network)` rebuilds it."""
        spectrum = self.planned.measured.spectrum
        num_labels = 1 if spectrum is None else spectrum.num_labels
        origin = Origin(arch=None, num_labels=num_labels, cut=self.planned.depth)
        notes = {"plan": self.planned.plan.digest}
        within = "" if self.part is None else f"{self.part}."
        kept = {(within + name, axis): x for (name, axis), x in self.cut.kept.items()}
        save_pruned(Path(path), self.model, origin, kept, notes)


def compress(
    model: nn.Module,
    train: DataLoader[Any],
    num_labels: int | None = None,
    *,
    held_out: DataLoader[Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    output: str | None = None,
    part: str | None = None,
    metric: Metric | None = None,
    **options: Unpack[JobOptions],
) -> Compressed:
    """The whole job on your own network and data loaders, without files.

    Args:
        model: a trained network; it is not changed.
        train: gives inputs and labels as the network takes them, augmented as you like: (inputs,
            label), several inputs, or a dictionary (see `inputs/items.py`).
        num_labels: K, of a classifier (N, ...) -> (N, K). None for any other network: it is judged
            by its outputs, which the smaller one has to give too (`output_score`), and what follows
            the inputs in `train` is not looked at.
        held_out: makes every choice; default: a tenth of `train`'s data set, taken out of it.
        progress: draw progress bars on stderr.
        output: which of several outputs holds the logits: a key, an attribute, an index ("1"), or
            several joined by dots ("head.logits"). Default: the tensor itself; "logits" or "out";
            the first of a tuple; the only one of K columns.
        part: without `num_labels`, prune this module alone, such as "backbone"; its outputs stay
            as wide as they are, and batches go to the whole network.
        metric: without `num_labels`, your own measure of the whole network, (network) -> number,
            higher is better; it is reported of every stage and decides nothing.
        **options: any flag of `prune-dl` that chooses filters, retrains or measures latency, by
            its name: a budget (`keep=0.6`, `macs=0.4`, `params=0.3`, `latency_ms=5.0`,
            `max_drop=1.0`), `rank="l1"`, `allocate="error"`, `epochs=0`, `lr=0.01`, ...
            `rank` may also be a function of yours, from the top level of its module
            (its parameters: `prune/selection/custom.py`). `batch_size` is by default that of
            `train`.

    Raises:
        UsageError, InputError, GateError: as the command does.
    """
    if num_labels is None:
        if output is not None:
            raise UsageError(
                f"`output={output}` given without `num_labels`; expected both, for a classifier; "
                "leave it out, and all outputs count"
            )
        asked = Asked(part, metric, seed, device, progress)
        found = compress_by_outputs(model, train, held_out, asked, options)
        return Compressed(
            found.model, found.outcome, found.planned, found.notes, part, found.metric
        )
    for name, value in (("part", part), ("metric", metric)):
        if value is not None:
            raise UsageError(
                f"`{name}` given with `num_labels={num_labels}`; expected one of them; leave "
                "`num_labels` out, and outputs judge instead of labels"
            )
    settings = settings_of_call(
        {"batch_size": train.batch_size or RetrainOptions.batch_size, **options}
    )
    place = pick_device(device)
    plain = as_plain(model)
    data = read_loaders(train, held_out, num_labels, seed, ItemReader.of(plain.model))
    single = as_float32(plain.model)
    case = Case(single.model.to(place), data, place, seed, RunLog(show=progress))
    check_finite_weights(case.model)
    check_inputs(case.example, settings)
    choice = choose_output(case.model, case.example, num_labels, output)
    notes = (*plain.notes, *single.notes, *data.notes, *choice.notes)
    with output_hooked(case.model, choice.name):
        require_classifier(case.model, case.example, num_labels)
        task = Task(data.labels, data.multi_label)
        notes += settle_outputs(case.model, case.example, task, case.held_out())
        notes += label_notes(case.model, data, place)
        planned, outcome = plan_and_carry_out(case, settings)
    for network in (outcome.removed, outcome.repaired, outcome.final, planned.model):
        without_choice(network)
    return Compressed(outcome.final, outcome, planned, notes + outcome.notes)
