"""`prune-dl --dry-run`: the plan with its totals, what the network is fed, how long it takes."""

from dataclasses import asdict, dataclass
from typing import Any

from ...evaluate.report.lines import Change, LayerLine
from ..job.layers import layer_lines
from ..terminal import duration
from .prune import plan_job
from .run_log import log_of, stages_of
from .said import input_document, words_of_inputs
from .tables import show_facts, show_layers, write_result
from .time_estimate import export_seconds, repair_seconds, retrain_seconds
from .trees import Job


@dataclass(frozen=True)
class DryRun:
    """A job as it would be.

    Attributes:
        lines: of every layer.
        filters, macs, params: of the whole network, before and after.
        inputs: what the network is fed, as documents hold it; `inputs_in_words` for people.
        retrain_seconds: estimate, from a timed forward pass.
        repair_seconds: estimate of removal and repair, from parts of them.
        export_seconds: estimate of both ONNX files, from one; 0 where `export_reason` says why.
        bench_seconds: least that the benchmark takes.
        plan_seconds: that planning took just now, and will again.
    """

    lines: tuple[LayerLine, ...]
    filters: Change[int]
    macs: Change[int]
    params: Change[int]
    inputs: dict[str, Any]
    inputs_in_words: str
    retrain_seconds: float
    repair_seconds: float
    export_seconds: float
    export_reason: str
    bench_seconds: float
    plan_seconds: float
    epochs: int
    num_training: int

    @property
    def seconds(self) -> float:
        """What all parts take together."""
        parts = (self.plan_seconds, self.repair_seconds, self.retrain_seconds)
        return sum(parts) + self.export_seconds + self.bench_seconds

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
    plan_seconds = sum(log.seconds.values())
    with log.stage("estimate"):
        retraining = retrain_seconds(case, planned, options.retrain)
        repairing, network = repair_seconds(case, planned, with_repair=options.select.repair)
        exporting, reason = export_seconds(case, network, options.opset)
    old, new = planned.original, planned.left
    return DryRun(
        lines=layer_lines(case.model, planned),
        filters=Change(old.keep, new.keep),
        macs=Change(old.macs, new.macs),
        params=Change(old.params, new.params),
        inputs=input_document(case.data),
        inputs_in_words=words_of_inputs(case.data),
        retrain_seconds=retraining,
        repair_seconds=repairing,
        export_seconds=exporting,
        export_reason=reason,
        bench_seconds=2 * options.bench.bench_seconds,
        plan_seconds=plan_seconds,
        epochs=options.retrain.epochs,
        num_training=case.data.train.num_images,
    )


def show_dry_run(found: DryRun) -> None:
    """The plan, a row a layer, and under it the totals."""
    show_layers(found.lines)
    export = f"about {duration(found.export_seconds)} (estimated from one of two files)"
    retraining = "none"
    if found.epochs:
        retraining = (
            f"about {duration(found.retrain_seconds)} (estimated, {found.epochs} epochs of "
            f"{found.num_training:,} images)"
        )
    facts = [
        ("filters", _of(found.filters, 1, "")),
        ("MACs", _of(found.macs, 1e6, " M")),
        ("parameters", _of(found.params, 1e6, " M")),
        ("input", found.inputs_in_words),
        ("repair", f"about {duration(found.repair_seconds)} (estimated from parts of it)"),
        ("retraining", retraining),
        ("export", found.export_reason or export),
        ("benchmark", f"{duration(found.bench_seconds)} or more"),
        ("whole job", f"{duration(found.seconds)} or more, the measured planning included"),
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
