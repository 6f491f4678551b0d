"""The main job on a network that is judged by its outputs: the parts of `prune` that differ."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from ...evaluate.measure.layer_times import layer_times
from ...evaluate.report.metric_line import MetricLine
from ..errors import UsageError
from ..files import write_text
from ..folder import bind_to
from ..inputs.pruned_file import compose, save_pruned
from ..job.account import Delivered, Finished
from ..job.by_outputs import (
    DoneByOutputs,
    check_without_labels,
    do_by_outputs,
    require_comparable,
    settings_of_part,
)
from ..job.kept import Kept
from ..job.known import Case, Planned
from ..job.output_files import export_with_outputs, time_with_original
from ..job.plan import make_plan
from ..job.stages import Outcome
from ..job_options import check_inputs
from ..progress import RunLog
from ..scores import Score
from ..structure.choice import Choice
from .facts import job_facts
from .home import shown_name
from .opening import Loaded
from .opening_outputs import OpenedByOutputs, open_by_outputs, settings_by_outputs
from .trees import Job

NO_FILE = (
    "no ONNX file was written, and latency was not measured: what was pruned takes several inputs, "
    "and a file has one; export it with torch.onnx"
)


def plan_by_outputs(
    options: Job, loaded: Loaded, log: RunLog, notes: tuple[str, ...]
) -> tuple[Case, Planned]:
    """The plan alone, as `dry_run` shows it.

    Raises:
        UsageError, InputError, GateError: as the job does.
    """
    settings = settings_of_part(settings_by_outputs(options), options.part)
    check_without_labels(settings)
    case = open_by_outputs(options, loaded, log, notes).subject.case
    check_inputs(case.example, settings)
    require_comparable(case)
    Choice.of(settings.select).check(case.model)
    return case, make_plan(case, settings.select.budget, settings)


def job_by_outputs(
    options: Job, loaded: Loaded, log: RunLog, folder: Path, notes: tuple[str, ...]
) -> Finished:
    """Open, plan, carry out and deliver, with the files of each part.

    Raises:
        UsageError, InputError, GateError: as the job does.
    """
    settings = settings_by_outputs(options)
    check_without_labels(settings)
    opened = open_by_outputs(options, loaded, log, notes)
    case = opened.subject.case
    check_inputs(case.example, settings)
    _check_file(options, case)
    facts = job_facts(opened.checkpoint, case, settings)
    bind_to(folder, facts | ({"`part`": options.part} if options.part else {}))
    if log.file is not None:
        log.file.unlink(missing_ok=True)  # the state has the rows of the epochs that are done
    case = replace(case, kept=Kept(folder))
    done = do_by_outputs(replace(opened.subject, case=case), settings)
    write_text(folder / "plan.json", done.planned.plan.to_json())
    _save(folder, opened, done)
    delivered = _deliver(case, done, options, folder)
    checkpoint = opened.checkpoint
    if delivered.file is None:
        checkpoint = checkpoint.noting(NO_FILE)
    return Finished(
        shown_name(options.network.model),
        checkpoint,
        case,
        settings,
        done.planned,
        done.outcome,
        delivered,
        options.part,
        metric_line(options.metric, done),
    )


def metric_line(name: str | None, done: DoneByOutputs) -> MetricLine | None:
    """The user's figures of every stage, under the name of the function."""
    if name is None:
        return None
    return MetricLine.of(name.rpartition(":")[2], done.figures)


def _check_file(options: Job, case: Case) -> None:
    """Refuse, before any work, a file that was asked for and cannot be written.

    Raises:
        UsageError, InputError: why not.
    """
    if isinstance(case.example, Tensor):
        if options.opset is not None:
            with TemporaryDirectory(prefix="prune-dl-opset-") as folder:
                file = Path(folder) / "probe.onnx"
                export_with_outputs(case, case.model, file, {}, options.opset)
        return
    for name in ("hub_folder", "opset"):
        if (value := getattr(options, name)) is not None:
            raise UsageError(
                f"`{name}={value}` given for a network or part of several inputs; expected one "
                "tensor of images, which an ONNX file of this tool takes; leave it out"
            )


def _save(folder: Path, opened: OpenedByOutputs, done: DoneByOutputs) -> None:
    """Write model.safetensors: the whole network, so that `load` rebuilds it."""
    checkpoint, data, part = opened.checkpoint, opened.data, opened.subject.part
    origin = replace(checkpoint.origin, data=data.title, labels=(), output=None)
    if data.mean and len(data.input_size) == 3:
        same = ("input_size", "mean", "std", "channel_order")
        origin = replace(origin, **{name: getattr(data, name) for name in same})
    within = "" if part is None else f"{part}."
    removed = {(within + name, axis): x for (name, axis), x in done.planned.cut.kept.items()}
    kept = compose(checkpoint.kept, removed)
    notes = {"plan": done.planned.plan.digest, "source": checkpoint.sha256 or ""}
    save_pruned(folder / "model.safetensors", done.stages["final"], origin, kept, notes)


def _deliver(case: Case, done: DoneByOutputs, options: Job, folder: Path) -> Delivered:
    """Export, check and time both networks, and read the test part, once."""
    log, final = case.log, done.outcome.final
    file, comparison, times = None, None, None
    if isinstance(case.example, Tensor):
        metadata = {"plan": done.planned.plan.digest}
        with log.stage("export"):
            path = folder / "model.onnx"
            file = export_with_outputs(case, final, path, metadata, options.opset)
    with log.stage("evaluate"):
        scores = _test_scores(case, done.outcome)
    for stage, score in scores.items():
        log.log({"stage": stage, f"test_{score.key}": score.value, "images": score.total})
    if file is not None:
        comparison = time_with_original(case, file.path, options.bench, options.opset)
        layers = [name for name, _ in final.named_modules()]
        times = layer_times(file.path, options.bench, layers)
    return Delivered(scores, file, comparison, layer_times=times)


def _test_scores(case: Case, outcome: Outcome) -> dict[str, Score]:
    """Output fidelity on the test part of the network of every stage; a network that two stages
    share counts once."""
    networks = {
        "original": case.model,
        "repaired": outcome.repaired,
        "final": outcome.final,
        "removed": outcome.removed,
    }
    judge, test = case.outputs, case.data.test
    assert judge is not None, "this job has networks that are judged by their outputs"
    known = {id(network): network for network in networks.values()}
    scores = {key: judge.score(network, test) for key, network in known.items()}
    return {name: scores[id(network)] for name, network in networks.items()}
