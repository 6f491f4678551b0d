"""The job on a classifier and a program's own loaders.

With their labels, with some of these, or with the network's own answers in the place of labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from .chosen_output import choose_output, num_outputs, output_hooked, without_choice
from .errors import UsageError
from .inputs.answered import with_answers
from .inputs.checkpoint import Checkpoint
from .inputs.few_labels import choose_labels
from .inputs.items import ItemReader
from .inputs.live import read_loaders
from .inputs.origin import Origin
from .inputs.samplers import batch_size_of_loader
from .inputs.split import DataSet, output_names
from .job.known import Case
from .job.steps import plan_and_carry_out
from .job.tracked import track_result
from .job_options import check_inputs, settings_of_call
from .options import RetrainOptions
from .outputs import require_classifier
from .progress import RunLog
from .results import Compressed, Given
from .settling.few_labels import keep_labels
from .settling.labels import label_notes
from .settling.opened import Opened
from .settling.unlabeled import OWN_ANSWERS, answer_notes
from .structure.finite import check_finite_weights
from .structure.plain import as_plain
from .structure.precision import as_float32
from .tasks import Task, settle_outputs
from .tracking.tracker import Tracker
from .training.device import pick_device


@dataclass(frozen=True)
class AskedOfClassifier:
    """What a call asks for, beyond the options of a job; see `compress`."""

    num_labels: int | None = None
    output: str | None = None
    labels_kept: Sequence[int | str] = ()
    unlabeled: bool = False
    multi_label: bool = False
    seed: int = 0
    device: str = "auto"
    progress: bool = False
    unaugmented: Dataset[Any] | None = None
    tracker: Tracker | None = None

    @property
    def stated(self) -> dict[str, Any]:
        """What was said of labels, by its name."""
        names = ("num_labels", "output", "labels_kept", "unlabeled", "multi_label")
        values = {name: getattr(self, name) for name in names}
        return {name: x for name, x in values.items() if x is not None and x not in (False, ())}


def compress_classifier(
    model: nn.Module,
    train: DataLoader[Any],
    held_out: DataLoader[Any] | None,
    asked: AskedOfClassifier,
    options: Mapping[str, Any],
) -> Compressed:
    """Plan, remove, repair and retrain, judged by labels.

    Raises:
        UsageError, InputError, GateError: as `compress`.
    """
    size = {"batch_size": batch_size_of_loader(train) or RetrainOptions.batch_size}
    settings = settings_of_call({**size, **options})
    place = pick_device(asked.device)
    plain = as_plain(model)
    reader = ItemReader.of(plain.model)
    data = read_loaders(
        train,
        held_out,
        asked.num_labels,
        asked.seed,
        reader,
        unlabeled=asked.unlabeled,
        unaugmented=asked.unaugmented,
    )
    _check_multi_label(data, asked)
    single = as_float32(plain.model)
    log = RunLog(show=asked.progress, tracker=asked.tracker)
    case = Case(single.model.to(place), data, place, asked.seed, log)
    check_finite_weights(case.model)
    check_inputs(case.example, settings)
    num_labels = asked.num_labels
    if num_labels is None:
        num_labels = num_outputs(case.model, case.example, asked.output)
    choice = choose_output(case.model, case.example, num_labels, asked.output)
    notes = (*plain.notes, *single.notes, *data.notes, *choice.notes)
    with output_hooked(case.model, choice.name):
        require_classifier(case.model, case.example, num_labels)
        opened = _settled(case, num_labels, asked, notes)
        case = replace(case, model=opened.checkpoint.model, data=opened.data)
        planned, outcome = plan_and_carry_out(case, settings)
    track_result(log, planned, outcome)
    for network in (outcome.removed, outcome.repaired, outcome.final, planned.model):
        without_choice(network)
    given = Given(case, settings, opened.checkpoint, choice.name)
    notes = opened.checkpoint.notes + outcome.notes
    return Compressed(outcome.final, outcome, planned, given, notes)


def _settled(
    case: Case, num_labels: int, asked: AskedOfClassifier, notes: tuple[str, ...]
) -> Opened:
    """The network and its data with labels of some kind: given ones, answers, or the kept ones."""
    data, place = case.data, case.device
    if data.unlabeled:
        names = output_names(num_labels)
        data = replace(data, labels=names, multi_label=asked.multi_label)
        data = with_answers(data, case.model, place)
        notes += (OWN_ANSWERS, *answer_notes(data))
    task = Task(data.labels, data.multi_label)
    labelled = () if data.unlabeled else case.held_out()
    notes += settle_outputs(case.model, case.example, task, labelled)
    notes += () if data.unlabeled else label_notes(case.model, data, place)
    opened = Opened(Checkpoint(case.model, Origin(None, num_labels), notes=notes), data, place)
    if not asked.labels_kept:
        return opened
    labels = choose_labels([str(label) for label in asked.labels_kept], data)
    return keep_labels(opened, labels, case.example)


def _check_multi_label(data: DataSet, asked: AskedOfClassifier) -> None:
    if asked.multi_label and not data.unlabeled:
        raise UsageError(
            "`multi_label=True` given for labelled images, which say so themselves; leave it out, "
            "or add `unlabeled=True`"
        )
