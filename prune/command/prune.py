"""`prune-dl --model FILE`: one run from options to a finished output folder."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ...evaluate.report.files import write_report
from ...evaluate.report.report import Report
from ...export.graph import GraphFormat, check_exportable
from ...export.hub import check_hub_folder, write_hub_folder
from ...export.opset import require_opset
from ...export.session import require_provider
from ...export.variants import Variant
from ..errors import GateError, UsageError
from ..files import write_text
from ..folder import bind_to, output_folder
from ..inputs.checkpoint import Checkpoint
from ..inputs.shown_labels import labels_to_show, read_shown_labels
from ..job.account import Finished, assemble
from ..job.findings import look_into
from ..job.kept import Kept
from ..job.known import Case, Planned
from ..job.plan import make_plan
from ..job.stages import Outcome
from ..job.steps import plan_and_carry_out
from ..job.tracked import track_result
from ..lock import only_writer
from ..output_score import OUTPUT_FIDELITY
from ..progress import RunLog
from ..scores import FIDELITY, Score
from ..structure.choice import Choice
from ..tracking.tracker import Tracker
from .delivery import Files, deliver_networks, save_result
from .facts import job_facts
from .flags import in_flags
from .home import shown_name, write_run
from .network_kind import judged_by_outputs
from .opening import Loaded, default_out, load_network, open_case
from .outputs_job import job_by_outputs, plan_by_outputs
from .run_log import log_of, stages_of
from .tracking import tracking
from .trees import Job

LATENCY_TOLERANCE = 0.02
"""Share above its budget that a final latency may have: what two measurements of one file differ
by on a quiet machine."""
RESUMED = "this run was resumed: seconds and memory are those of its last part"


def run_job(options: Job, command: str) -> tuple[Report, Outcome]:
    """Do the whole job; the output folder appears when everything in it is finished."""
    out = options.run.out or default_out(options.network.model)
    require_provider(options.bench.provider)
    if options.select.hardware_widths:
        require_provider(options.select.hardware_widths, "hardware_widths")
    require_opset(options.opset)
    with ExitStack() as stack:
        if options.hub_folder:
            stack.enter_context(only_writer(options.hub_folder, "hub_folder"))
            check_hub_folder(options.hub_folder)
        with (
            output_folder(out, resume=options.run.resume) as folder,
            tracking(options.track, out) as tracker,
        ):
            report, outcome = _fill(options, command, folder, tracker)
        if options.hub_folder:
            write_hub_folder(out, options.hub_folder)
    return report, outcome


def plan_job(options: Job, log: RunLog) -> tuple[Case, Planned]:
    """The plan alone; nothing is written.

    Raises:
        UsageError, InputError, GateError: as the job does.
    """
    loaded = load_network(options.network, options.run, log)
    is_by_outputs, notes = judged_by_outputs(options, loaded)
    if is_by_outputs:
        return plan_by_outputs(options, loaded, log, notes)
    names = read_shown_labels(options.label_names)
    where = (options.network, options.data, options.run)
    checkpoint, case = open_case(*where, log, options.labels_kept, loaded)
    labels_to_show(case.data.labels, checkpoint.origin, names)
    Choice.of(options.select).check(case.model)
    return case, make_plan(case, options.select.budget, options.settings)


def _fill(
    options: Job, command: str, folder: Path, tracker: Tracker | None
) -> tuple[Report, Outcome]:
    """Everything that the output folder holds."""
    log = log_of(options.run, stages_of(options), folder / "metrics.jsonl", tracker)
    loaded = load_network(options.network, options.run, log)
    is_by_outputs, notes = judged_by_outputs(options, loaded)
    if is_by_outputs:
        done = job_by_outputs(options, loaded, log, folder, notes)
    else:
        done = _job_by_labels(options, loaded, log, folder)
    report = assemble(command, done)
    ratio = None if report.latency_ratio is None else report.latency_ratio.value
    track_result(log, done.planned, done.outcome, ratio)
    notes = (*report.warnings, *[RESUMED] * options.run.resume)
    report = replace(report, warnings=tuple(map(in_flags, notes)))
    write_report(report, folder)
    write_run(folder, command, options, done.case.data.name)
    return report, done.outcome


def _job_by_labels(options: Job, loaded: Loaded, log: RunLog, folder: Path) -> Finished:
    """The job on a classifier."""
    names = read_shown_labels(options.label_names)
    where = (options.network, options.data, options.run)
    checkpoint, case = open_case(*where, log, options.labels_kept, loaded)
    case = replace(case, label_names=labels_to_show(case.data.labels, checkpoint.origin, names))
    if options.opset is not None:
        check_exportable(case.model, case.data.input_size, GraphFormat(options.opset))
    bind_to(folder, job_facts(checkpoint, case, options.settings))
    # The state has the rows of the epochs that are done.
    (folder / "metrics.jsonl").unlink(missing_ok=True)
    return _work(options, checkpoint, replace(case, kept=Kept(folder)), folder)


def _work(options: Job, checkpoint: Checkpoint, case: Case, folder: Path) -> Finished:
    """Plan, carry out and deliver, with the files of each part."""
    if options.select.cut_depth and (checkpoint.kept or checkpoint.origin.cut):
        raise UsageError(
            f"`cut_depth` given for {options.network.model}, which was pruned already; "
            "give the network that it was made from"
        )
    settings = options.settings
    planned, outcome = plan_and_carry_out(case, settings)
    write_text(folder / "plan.json", planned.plan.to_json())
    save_result(folder, checkpoint, case, planned, outcome.final)
    files = Files(folder, checkpoint.sha256 or "", Variant(opset=options.opset))
    delivered = deliver_networks(case, planned, outcome, settings.bench, files)
    name = shown_name(options.network.model)
    with case.log.stage("forecast"):
        findings = look_into(case, planned, outcome, settings.select)
    return Finished(
        name, checkpoint, case, settings, planned, outcome, delivered, findings=findings
    )


def check_drop(options: Job, outcome: Outcome) -> None:
    """The gate of `max_drop`, in points of held-out accuracy, or of fidelity without labels.

    Raises:
        GateError: more was lost.
    """
    before, after = outcome.held_out["original"], outcome.held_out["final"]
    drop = 100 * (before.value - after.value)
    most = options.select.max_drop
    if most is not None and drop > most:
        raise GateError(
            f"held-out {_called(before)} fell by {drop:.2f} points, more than `max_drop={most}`; "
            "keep more filters or retrain for longer"
        )


def _called(score: Score) -> str:
    return score.name if score.key in (FIDELITY, OUTPUT_FIDELITY) else "accuracy"


def check_latency(options: Job, report: Report) -> None:
    """The gate of `latency_ms`, on what the budget was searched with (see `latency_budget`).

    That is the latency of the original at the start over the ratio of the final benchmark, in
    which both files took turns.

    Raises:
        GateError: the final file takes longer.
    """
    most = options.select.latency_ms
    bench, ratio = report.benchmark, report.latency_ratio
    if most is None or bench is None or bench.reference_ms is None or ratio is None:
        return
    final_ms = bench.reference_ms / ratio.value
    if final_ms > most * (1 + LATENCY_TOLERANCE):
        raise GateError(
            f"the final file takes {final_ms:.3g} ms, more than `latency_ms={most:g}`; "
            "ask for less, or measure on a quiet machine"
        )
