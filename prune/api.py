"""The Python API: the job on live networks and the user's own data loaders."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from torch import nn
from torch.utils.data import DataLoader

from ..export.checked import Exported
from .budget import Budget
from .chosen_output import choose_output, output_hooked, without_choice
from .forward import first_rows
from .inputs.checkpoint import Checkpoint
from .inputs.few_labels import choose_labels
from .inputs.items import ItemReader
from .inputs.live import read_live, read_loaders
from .inputs.origin import Origin
from .inputs.pruned_file import compose, load_pruned, save_pruned
from .inputs.split import Batches
from .job.by_weights import ByWeights, cut_by_weights
from .job.known import EXAMPLES, Case, Planned
from .job.stages import Outcome
from .job.steps import plan_and_carry_out
from .job_options import JobOptions, as_layers, check_inputs, settings_of_call
from .mechanism.network import TracedNetwork
from .mechanism.spectrum import Spectrum, measure
from .options import RetrainOptions
from .outputs import require_classifier
from .progress import RunLog
from .results import Given, export_result, html_of, report_result
from .settling.answers import answers_of
from .settling.few_labels import keep_labels
from .settling.labels import label_notes, notes_of
from .settling.opened import SETTLING_IMAGES, Opened
from .shown import html_table, short_repr
from .structure.certificate import Certificate
from .structure.choice import Choice
from .structure.cut import Cut
from .structure.finite import check_finite_weights
from .structure.plain import as_plain
from .structure.plan import Plan
from .structure.precision import as_float32
from .structure.tracing.trace import trace
from .structure.units import Structure
from .tasks import Task, settle_outputs
from .training.device import pick_device
from .training.optimizer import remap_optimizer as remap_optimizer


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

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        whole = html_table("Kept whole", ("layer", "why"), self.kept_whole.items())
        return self.plan._repr_html_() + (whole if self.kept_whole else "")

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
    how = ByWeights(criterion, seed, Choice(as_layers(whole), as_layers(only)), at_least)
    plain = as_plain(model)
    done = cut_by_weights(plain.model, example_inputs, budget, how)
    why = dict(done.cut.structure.kept_whole)
    return Shrunk(done.model, done.plan, done.certificate, why, done.cut, plain.notes)


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
        given: the network that came in, the data and the settings.
        warnings: every compromise in a line.
    """

    model: nn.Module
    outcome: Outcome
    planned: Planned
    given: Given = field(repr=False)
    warnings: tuple[str, ...] = ()

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return html_of(self.planned, self.outcome, self.warnings)

    @property
    def cut(self) -> Cut:
        """What was removed and what was kept."""
        return self.planned.cut

    def save(self, path: str | Path) -> None:
        """Write weights and kept filters; `load(path, model=fresh_network)` rebuilds it."""
        came_in = self.given.came_in
        origin = replace(came_in.origin, labels=(), cut=self.planned.depth)
        kept = compose(came_in.kept, self.cut.kept)
        save_pruned(Path(path), self.model, origin, kept, {"plan": self.planned.plan.digest})

    def export(self, path: str | Path, *, opset: int | None = None) -> Exported:
        """Write an ONNX file that was checked on held-out images: its parity, size and score.

        Args:
            path: of the file; one that is there is replaced.
            opset: version of the ONNX operators, 11 or later; default: the exporter's own.

        Raises:
            GateError: file and network differ; no file is left.
            InputError, UsageError: the network, or its inputs, cannot be exported.
        """
        return export_result(self.model, self.given, self.planned, Path(path), opset)

    def report(self, folder: str | Path) -> Path:
        """Write report.html and report.json as the command does; returns the page.

        What the command measures on its files (accuracy on a test part, latency, size) is left out.

        Raises:
            InputError: the folder cannot be written to.
        """
        return report_result(self.given, self.planned, self.outcome, self.warnings, Path(folder))


def compress(
    model: nn.Module,
    train: DataLoader[Any],
    num_labels: int,
    *,
    held_out: DataLoader[Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    output: str | None = None,
    labels_kept: Sequence[int | str] = (),
    **options: Unpack[JobOptions],
) -> Compressed:
    """The whole job on your own network and data loaders, without files.

    Args:
        model: a trained classifier (N, ...) -> (N, K); it is not changed.
        train: gives inputs and labels as the network takes them, augmented as you like: (inputs,
            label), several inputs, or a dictionary (see `inputs/items.py`).
        num_labels: K.
        held_out: makes every choice; default: a tenth of `train`'s data set, taken out of it.
        progress: draw progress bars on stderr.
        output: which of several outputs holds the logits: a key, an attribute, an index ("1"), or
            several joined by dots ("head.logits"). Default: the tensor itself; "logits" or "out";
            the first of a tuple; the only one of K columns.
        labels_kept: keep these labels alone, by number: the classifier is cut to them, in
            ascending order, and all that follows is done on their items. Default: all.
        **options: any flag of `prune-dl` that chooses filters, retrains or measures latency, by
            its name: a budget (`keep=0.6`, `macs=0.4`, `params=0.3`, `latency_ms=5.0`,
            `max_drop=1.0`), `rank="l1"`, `allocate="error"`, `epochs=0`, `lr=0.01`, ...
            `rank` may also be a function of yours, from the top level of its module
            (its parameters: `prune/selection/custom.py`). `batch_size` is by default that of
            `train`.

    Raises:
        UsageError, InputError, GateError: as the command does.
    """
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
        opened = Opened(Checkpoint(case.model, Origin(None, num_labels), notes=notes), data, place)
        if labels_kept:
            labels = choose_labels([str(label) for label in labels_kept], data)
            opened = keep_labels(opened, labels, case.example)
            case = replace(case, model=opened.checkpoint.model, data=opened.data)
        planned, outcome = plan_and_carry_out(case, settings)
    for network in (outcome.removed, outcome.repaired, outcome.final, planned.model):
        without_choice(network)
    given = Given(case, settings, opened.checkpoint, choice.name)
    notes = opened.checkpoint.notes + outcome.notes
    return Compressed(outcome.final, outcome, planned, given, notes)
