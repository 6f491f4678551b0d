"""The job on a network whose outputs are no class scores, or on a part of a network.

The original's own outputs are the targets of everything: ranking and repair need none, the budget
is spread by what a removal costs at the outputs, networks are compared by the fidelity of their
outputs (`output_score`), and a retraining imitates them. Nothing looks at labels.

A part is a module inside the network, taken for the network itself. What it is given is recorded
while the whole runs on the user's batches; its outputs stay as wide as they are, so that the rest
(heads, proposals, post-processing) is untouched.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..evaluate.measure.fidelity import OutputJudge
from .errors import InputError, UsageError, first_line
from .forward import FORWARD_ERRORS, call_on_copies, evaluating, on_device
from .inputs.checkpoint import Checkpoint
from .inputs.items import ItemReader
from .inputs.origin import Origin
from .inputs.recorded import PartRecorder, part_names, recorder_of
from .inputs.unjudged import inputs_in, read_inputs
from .job.known import Case
from .job.steps import plan_and_carry_out
from .job_options import as_layers, check_inputs, settings_of_call
from .options import RetrainOptions, Settings
from .output_score import require_float_outputs
from .outputs import (
    RANDOM_ABOVE,
    RANDOM_FORWARD,
    explain_types,
    found_logits,
    run_to_run_difference,
)
from .progress import RunLog
from .results import Compressed, Given
from .structure.finite import check_finite_weights
from .structure.plain import as_plain
from .structure.precision import as_float32
from .training.device import pick_device

WITHOUT_LABELS = ("response", "l1", "l2", "bn-scale", "fpgm", "lamp", "random", "auto")
"""Criteria that rank without labels; the first is the default."""
MATRIX = 2
"""Axes of class scores, one row for each image; maps and boxes have more."""
JUDGED = (
    "networks are compared by how close their outputs are to the original's (output fidelity); "
    "nothing but inputs was read of the data"
)
Metric = Callable[[nn.Module], float]
"""The user's own measure of a network, in evaluation mode: higher is better."""


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
    size = {"batch_size": train.batch_size or RetrainOptions.batch_size}
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
    data = read_inputs(train, held_out, asked.seed, reader, recorder)
    network = whole.get_submodule(asked.part or "")
    judge = OutputJudge(network, place)
    first_inputs = next(iter(data.held_out.batches(1, device=place)))[0]
    if isinstance(first_inputs, Tensor):
        size_of_one: Any = tuple(first_inputs.shape[1:])
        data = replace(data, input_size=size_of_one)
    case = Case(network, data, place, asked.seed, RunLog(show=asked.progress), outputs=judge)
    check_inputs(case.example, settings)
    _require_comparable(case)
    planned, outcome = plan_and_carry_out(case, _within_part(settings, asked.part))
    stages = {
        "original": whole,
        "removed": in_place(whole, asked.part, outcome.removed),
        "repaired": in_place(whole, asked.part, outcome.repaired),
        "final": in_place(whole, asked.part, outcome.final),
    }
    notes = (*plain.notes, *single.notes, *data.notes, JUDGED, *_notes_of_part(recorder))
    given = Given(case, settings, Checkpoint(network, Origin(None, num_labels=1), notes=notes))
    figures = _figures(asked.metric, stages)
    notes += outcome.notes
    return Compressed(stages["final"], outcome, planned, given, notes, asked.part, figures)


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


def check_without_labels(settings: Settings) -> None:
    """Refuse, before any work, what needs labels.

    Raises UsageError.
    """
    select, what = settings.select, "given for a network that is judged by its outputs"
    if select.rank not in WITHOUT_LABELS and ":" not in select.rank:
        raise UsageError(
            f"`rank={select.rank}` {what}, which needs labels; expected one of "
            f"{', '.join(WITHOUT_LABELS)}; give one, or `num_labels` for a classifier"
        )
    for name, is_wrong, instead in (
        ("allocate=sr", select.allocate == "sr", "give `allocate=output`"),
        ("cut_depth", select.cut_depth, "leave it out"),
        ("distill=False", not settings.retrain.distill, "leave it out"),
        ("mixup", settings.retrain.mixup > 0, "leave it out"),
    ):
        if is_wrong:
            raise UsageError(f"`{name}` {what}, which needs labels; {instead}")


def in_place(whole: nn.Module, part: str | None, smaller: nn.Module) -> nn.Module:
    """A copy of a network with a smaller part in place of its own, under all of its names."""
    if part is None:
        return smaller
    old = whole.get_submodule(part)
    return copy.deepcopy(whole, {id(old): copy.deepcopy(smaller)}).eval()


def _within_part(settings: Settings, part: str | None) -> Settings:
    """Names of layers as the part knows them, where they were given as the whole does."""
    if part is None:
        return settings
    select = settings.select
    whole, only = (
        tuple(name.removeprefix(f"{part}.") for name in as_layers(names))
        for names in (select.whole, select.only)
    )
    return replace(settings, select=replace(select, whole=whole, only=only))


def _notes_of_part(recorder: PartRecorder | None) -> Sequence[str]:
    if recorder is None or recorder.runs_once:
        return ()
    return (f"{recorder.part} runs several times for a batch: each run counts as one of its own",)


def _require_comparable(case: Case) -> None:
    """Refuse, before any work, a network whose outputs cannot be compared.

    Raises:
        InputError: it does not run, gives no floating-point outputs, or others at every run.
    """
    model, example = case.model, case.example
    if any(isinstance(x, nn.DataParallel) for x in model.modules()):
        return  # the tracer says why
    try:
        with evaluating(model):
            outputs = call_on_copies(model, example)
    except FORWARD_ERRORS as error:
        reason = explain_types(model, example) or (
            f"inputs given on which {type(model).__name__} does not run ({first_line(error)}); "
            "expected what it takes; give other batches, or a `collate_fn` that makes them"
        )
        raise InputError(reason) from error
    require_float_outputs(outputs, part_names(model))
    if run_to_run_difference(model, example) > RANDOM_ABOVE:
        raise InputError(RANDOM_FORWARD)


def _figures(metric: Metric | None, stages: Mapping[str, nn.Module]) -> dict[str, float]:
    """The user's figure of every stage."""
    if metric is None:
        return {}
    found = {}
    for name, network in stages.items():
        with evaluating(network):
            value = metric(network)
        try:
            found[name] = float(value)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"`metric` gave a {type(value).__name__} for the {name} network; expected one "
                "number, higher for better networks"
            ) from error
    return found
