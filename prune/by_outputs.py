"""The job on a network whose outputs are no class scores, or on a part of a network.

The original's own outputs are the targets of everything: ranking and repair need none, the budget
is spread by what a removal costs at the outputs, networks are compared by the fidelity of their
outputs (`output_score`), and a retraining imitates them. Nothing looks at labels.

A part is a module inside the network, taken for the network itself. What it is given is recorded
while the whole runs on the user's batches; its outputs stay as wide as they are, so that the rest
(heads, proposals, post-processing) is untouched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .errors import InputError, UsageError
from .forward import FORWARD_ERRORS, call_on_copies, evaluating, on_device
from .inputs.checkpoint import Checkpoint
from .inputs.items import ItemReader
from .inputs.origin import Origin
from .inputs.recorded import data_of_part, recorder_of
from .inputs.samplers import batch_size_of_loader
from .inputs.unjudged import inputs_in, read_inputs
from .job.by_outputs import (
    JUDGED,
    WITHOUT_LABELS,
    Metric,
    WholeAndPart,
    case_by_outputs,
    check_without_labels,
    do_by_outputs,
)
from .job.tracked import track_result
from .job_options import check_inputs, settings_of_call
from .options import RetrainOptions
from .outputs import found_logits
from .progress import RunLog
from .results import Compressed, Given
from .structure.finite import check_finite_weights
from .structure.plain import as_plain
from .structure.precision import as_float32
from .tracking.tracker import Tracker
from .training.device import pick_device

MATRIX = 2
"""Axes of class scores, one row for each image; maps and boxes have more."""


@dataclass(frozen=True)
class AskedOfOutputs:
    """What a call asks for, beyond the options of a job.

    Attributes:
        part: module path; None for the whole network.
        metric: measured on the network of every stage; it decides nothing.
        judge: by what networks are compared, where the user says it.
    """

    part: str | None = None
    metric: Metric | None = None
    judge: Literal["answers", "outputs"] | None = None
    seed: int = 0
    device: str = "auto"
    progress: bool = False
    unaugmented: Dataset[Any] | None = None
    tracker: Tracker | None = None

    @property
    def is_sure(self) -> bool:
        """Whether the user wants outputs to judge, whatever the network gives."""
        return self.judge == "outputs" or self.part is not None or self.metric is not None

    def refuse(self, stated: Mapping[str, Any]) -> None:
        """Refuse what belongs to classifiers.

        Args:
            stated: what was said of labels, by its name.

        Raises UsageError.
        """
        if self.judge == "answers":
            stated = {**stated, "judge": self.judge}
        for name, value in stated.items():
            raise UsageError(
                f"`{name}={value}` given for a network that is judged by its outputs (as "
                "`judge=outputs`, `part` and `metric` ask for), whatever they are; leave it out"
            )


def compress_by_outputs(
    model: nn.Module,
    train: DataLoader[Any],
    held_out: DataLoader[Any] | None,
    asked: AskedOfOutputs,
    options: Mapping[str, Any],
) -> Compressed:
    """Plan, remove, repair and retrain, judged by the original's own outputs.

    Raises:
        UsageError: an option that needs labels, or a part that there is not.
        InputError: the network does not run on the batches, or gives nothing that can be compared.
        GateError: the budget cannot be met.
    """
    size = {"batch_size": batch_size_of_loader(train) or RetrainOptions.batch_size}
    rank = {"rank": WITHOUT_LABELS[0]}
    settings = settings_of_call({**size, **rank, **options})
    check_without_labels(settings)
    place = pick_device(asked.device)
    plain = as_plain(model)
    single = as_float32(plain.model)
    whole = single.model.to(place)
    check_finite_weights(whole)
    reader = ItemReader.of(whole)
    recorder = None
    if asked.part is not None:
        first = on_device(inputs_in(next(iter(train)), reader), place)
        recorder = recorder_of(whole, asked.part, first)
    data = read_inputs(train, held_out, asked.seed, reader, unaugmented=asked.unaugmented)
    if recorder is not None:
        data = data_of_part(data, recorder)
    network = whole.get_submodule(asked.part or "")
    log = RunLog(show=asked.progress, tracker=asked.tracker)
    case = case_by_outputs(network, data, place, asked.seed, log)
    check_inputs(case.example, settings)
    done = do_by_outputs(WholeAndPart(case, whole, asked.part, asked.metric), settings)
    track_result(log, done.planned, done.outcome)
    notes = (*plain.notes, *single.notes, *data.notes, JUDGED)
    notes += () if recorder is None else recorder.notes
    came_in = Checkpoint(network, Origin(None, num_labels=1), notes=notes)
    name = getattr(asked.metric, "__name__", type(asked.metric).__name__)
    given = Given(case, settings, came_in, metric_name=name)
    notes += done.outcome.notes
    final = done.stages["final"]
    return Compressed(final, done.outcome, done.planned, given, notes, asked.part, done.figures)


def gives_class_scores(model: nn.Module, train: DataLoader[Any]) -> bool:
    """Whether a network gives one number, or one row of them, for each image.

    Also where it does not run, or there is nothing to run it on: who reads the data says so.
    """
    device = next((x.device for x in model.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):  # loaders and augmentations draw from it
        first = next(iter(train), None)
    if first is None:
        return True
    try:
        inputs = on_device(inputs_in(first, ItemReader.of(model)), device)
        with evaluating(model):
            found = found_logits(call_on_copies(model, inputs))
    except (*FORWARD_ERRORS, InputError):
        return True
    return isinstance(found, Tensor) and found.is_floating_point() and found.ndim <= MATRIX
