"""`prune-dl --dry-run`: the plan with its totals, what the network is fed, how long it takes."""

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from ...evaluate.report.lines import Change, LayerLine
from ..forward import call, evaluating
from ..job.known import Case, Planned
from ..job.layers import layer_lines
from ..options import RetrainOptions, Settings
from ..terminal import duration
from .prune import plan_job
from .run_log import log_of, stages_of
from .said import input_document, words_of_inputs
from .tables import show_facts, show_layers, write_result
from .trees import Job

TIMED_IMAGES = 500
"""Held-out images that a forward pass is timed on."""
STEP = 3.0
"""Forward passes that a training step costs: one forward, about two back."""


@dataclass(frozen=True)
class DryRun:
    """A job as it would be.

    Attributes:
        lines: of every layer.
        filters, macs, params: of the whole network, before and after.
        inputs: what the network is fed, as documents hold it; `inputs_in_words` for people.
        retrain_seconds: estimate, from a timed forward pass.
        bench_seconds: least that the benchmark takes.
    """

    lines: tuple[LayerLine, ...]
    filters: Change[int]
    macs: Change[int]
    params: Change[int]
    inputs: dict[str, Any]
    inputs_in_words: str
    retrain_seconds: float
    bench_seconds: float
    epochs: int
    num_training: int

    def to_dict(self) -> dict[str, Any]:
        """The document of `--json`."""
        values = asdict(self)
        values["layers"] = values.pop("lines")
        del values["inputs_in_words"]
        return values


def dry_run(options: Job) -> DryRun:
    """Plan a job and change nothing.

    Raises:
        UsageError, InputError, GateError: as the job does before it removes anything.
    """
    log = log_of(options.run, stages_of(options))
    case, planned = plan_job(options, log)
    with log.stage("estimate"):
        seconds = _retrain_seconds(case, planned, options.retrain)
    old, new = planned.original, planned.left
    return DryRun(
        lines=layer_lines(case.model, planned),
        filters=Change(old.keep, new.keep),
        macs=Change(old.macs, new.macs),
        params=Change(old.params, new.params),
        inputs=input_document(case.data),
        inputs_in_words=words_of_inputs(case.data),
        retrain_seconds=seconds,
        bench_seconds=_bench_seconds(options.settings),
        epochs=options.retrain.epochs,
        num_training=case.data.train.num_images,
    )


def _retrain_seconds(case: Case, planned: Planned, retrain: RetrainOptions) -> float:
    """Steps on the smaller network, and a forward pass of the teacher beside each."""
    held_out = case.data.held_out
    limit = min(TIMED_IMAGES, held_out.num_images)
    start = perf_counter()
    with evaluating(case.model):
        for images, _ in case.held_out(limit):
            call(case.model, images)
    forward = (perf_counter() - start) / limit
    share = planned.left.macs / planned.original.macs
    num_images = retrain.epochs * case.data.train.num_images
    return forward * (STEP * share + retrain.distill) * num_images


def _bench_seconds(settings: Settings) -> float:
    return 2 * settings.bench.bench_seconds


def show_dry_run(found: DryRun) -> None:
    """The plan, a row a layer, and under it the totals."""
    show_layers(found.lines)
    retraining = "none"
    if found.epochs:
        retraining = (
            f"about {duration(found.retrain_seconds)} ({found.epochs} epochs of "
            f"{found.num_training:,} images)"
        )
    facts = [
        ("filters", _of(found.filters, 1, "")),
        ("MACs", _of(found.macs, 1e6, " M")),
        ("parameters", _of(found.params, 1e6, " M")),
        ("input", found.inputs_in_words),
        ("retraining", retraining),
        ("benchmark", f"{duration(found.bench_seconds)} or more"),
        ("repair, export", "not estimated"),
    ]
    show_facts("in all; nothing was written", facts)
    write_result("next: the same command without --dry-run")


def _of(change: Change[int], unit: float, name: str) -> str:
    form = "," if unit == 1 else ".2f"
    old, new = change.original / unit, change.final / unit
    share = 100 * change.final / max(change.original, 1)
    if unit == 1:
        old, new = change.original, change.final
    return f"{new:{form}} of {old:{form}}{name} ({share:.1f} %)"
