"""`prune-dl sweep`: one network at several budgets, from one pass of statistics.

Every budget becomes a folder with its network and its files in the wanted precisions; its figures
go to `point.json` when it is done, so that a resumed sweep only does what is missing. All
accuracies are those of the files themselves on held-out images: picking one of them is a choice,
and choices are not made on the test part. At the end all files are timed against each other,
interleaved.
"""

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ....evaluate.report.tradeoff import Tradeoff, TradeoffPoint
from ....evaluate.report.tradeoff_page import write_tradeoff
from ....export.checked import Exported, export_checked
from ....export.graph import GraphFormat, check_exportable
from ....export.metadata import describe
from ....export.opset import require_opset
from ....export.quantise import Quantisation
from ....export.session import require_provider
from ....export.variants import Variant
from ...budget import Budget
from ...errors import InputError, PruneError
from ...files import write_text
from ...folder import bind_to, has_state, refuse_full_disk
from ...inputs.checkpoint import Checkpoint
from ...job.budget import plan_within
from ...job.kept import Kept
from ...job.kept_plan import plan_once
from ...job.known import Case, Planned
from ...job.plan import CONTEST_BUDGET, choose_ranking, measure_network
from ...job.stages import Outcome, carry_out, check_teacher
from ...lock import only_writer
from ...progress import RunLog
from ...scores import Accuracy
from ...structure.choice import Choice
from ...structure.plan import keep_everything
from ..delivery import save_result
from ..distribute import ray_map
from ..facts import job_facts
from ..flags import in_flags, one_line
from ..home import write_run
from ..opening import open_case
from ..run_log import log_of
from ..trees import Sweep
from .budgets import ORIGINAL, budgets_of, place_of, precisions, settings_of
from .folder import (
    DONE,
    folder_of,
    forget,
    is_done,
    open_folder,
    read_points,
    sweep_folder,
    write_points,
)
from .forecasts import write_forecast
from .timing import time_files

MAX_REASON = 300
"""Characters of a reason that a table still shows well."""


def run_sweep(options: Sweep, command: str) -> Tradeoff:
    """Do what is missing of a sweep, then time every file; writes tradeoff.{json,csv,html}.

    A budget that cannot be met, a file that fails its check, or a point that breaks off for any
    other reason is a row with its error.

    Raises:
        UsageError: impossible options, or an output folder that holds something else.
        InputError: network or data cannot be used.
    """
    budgets = budgets_of(options)
    require_provider(options.bench.provider)
    if options.hardware_widths:
        require_provider(options.hardware_widths, "hardware_widths")
    require_opset(options.opset, int8=options.int8)
    out = sweep_folder(options)
    with only_writer(out):
        open_folder(out, options)
        try:
            return _fill(options, command, out, budgets)
        except BaseException as error:
            if has_state(out) or any(out.glob(f"*/{DONE}")):
                error.add_note(f"what was finished is kept in {out}; `resume` goes on with it")
            refuse_full_disk(out, error)
            raise


def _fill(options: Sweep, command: str, out: Path, budgets: tuple[Budget, ...]) -> Tradeoff:
    """Everything of the output folder that is not there yet."""
    log = log_of(options.run)
    pending = [budget for budget in budgets if not is_done(out, budget.name)]
    if pending or not is_done(out, ORIGINAL):
        _work(options, pending, out, log)
    names = (ORIGINAL, *(budget.name for budget in budgets))
    points = [point for name in names for point in read_points(out, name)]
    tradeoff = time_files(options, command, points, out, log)
    write_tradeoff(tradeoff, out)
    forget(out)
    return tradeoff


@dataclass(frozen=True)
class _Sent:
    """What a point needs besides its budget; network and data are opened where it is made.

    Attributes:
        planned: what is known of the whole network; its plan keeps everything.
    """

    options: Sweep
    planned: Planned
    out: Path
    working_folder: Path


@dataclass(frozen=True)
class _Opened:
    """A network and its case, as `open_case` gives them."""

    checkpoint: Checkpoint
    case: Case


def _open(options: Sweep, log: RunLog) -> _Opened:
    where = (options.network, options.data, options.run)
    return _Opened(*open_case(*where, log, options.labels_kept))


def _work(options: Sweep, pending: list[Budget], out: Path, log: RunLog) -> None:
    """Measure once, then make the files of the original and of every missing budget."""
    opened = _open(options, log)
    if opened.case.data.multi_label:
        raise InputError(
            "a sweep of data with several labels for an image given; expected one label for each, "
            "whose top-1 its table and charts compare; prune once for every budget"
        )
    if options.opset is not None:
        data = opened.case.data
        check_exportable(opened.case.model, data.input_size, GraphFormat(options.opset))
    check_teacher(opened.case, settings_of(options))
    bind_to(out, job_facts(opened.checkpoint, opened.case, settings_of(options)))
    planned = _measure(options, pending, replace(opened.case, kept=Kept(out)))
    sent = _Sent(options, planned, out.absolute(), Path.cwd())
    if not is_done(out, ORIGINAL):
        with log.within(place_of(options, ORIGINAL)):
            files = list(_deliver(sent, ORIGINAL, opened.case.model, opened, planned))
        write_points(out, ORIGINAL, files)
    if options.distributed == "ray":
        with log.stage("points") as progress:
            gpu = opened.case.device.type == "cuda"
            for done, (at, made) in enumerate(ray_map(_make_remotely, sent, pending, gpu=gpu)):
                _keep(out, pending[at], made)
                progress(done + 1, len(pending))
        return
    for budget in pending:
        with log.within(place_of(options, budget.name)):
            _keep(out, budget, _make_or_fail(sent, budget, opened))


def _measure(options: Sweep, pending: list[Budget], case: Case) -> Planned:
    """Statistics, ranking and hardware widths, for all budgets.

    Where held-out images choose the criterion, they choose it once, at `CONTEST_BUDGET`.
    """
    searched = [budget for budget in pending if not budget.is_counted]
    settings = settings_of(options)
    Choice.of(settings.select).check(case.model)

    def make() -> Planned:
        measured = measure_network(case, searched[0] if searched else CONTEST_BUDGET, settings)
        with case.log.stage("rank"):
            ranking, tried = choose_ranking(case, measured, CONTEST_BUDGET, settings.select)
        whole = keep_everything(measured.structure)
        return Planned(case.model, measured, ranking, whole, measured.whole, contest=tried)

    return plan_once(case, settings, make, name="searched" if searched else "ranked")


def _keep(out: Path, budget: Budget, made: list[TradeoffPoint] | Exception) -> None:
    """Write the rows of a point; one that broke off is a row too, and made again by `resume`."""
    if isinstance(made, Exception):
        reason = f"{type(made).__name__}: {one_line(made)}"[:MAX_REASON]
        write_points(out, budget.name, [TradeoffPoint(budget.name, error=reason)], done=False)
    else:
        write_points(out, budget.name, made)


def _make_remotely(sent: _Sent, budget: Budget) -> list[TradeoffPoint]:
    os.chdir(sent.working_folder)
    return _make(sent, budget, _open(sent.options, RunLog()))


def _make_or_fail(sent: _Sent, budget: Budget, opened: _Opened) -> list[TradeoffPoint] | Exception:
    try:
        return _make(sent, budget, opened)
    except Exception as error:  # whatever it is, the other points are still wanted
        return error


def _make(sent: _Sent, budget: Budget, opened: _Opened) -> list[TradeoffPoint]:
    """The files of one budget, or a row that says why there are none.

    What was decided on the way is noted in the first row.
    """
    try:
        planned, outcome = _prune(sent, budget, opened)
    except PruneError as error:
        _raise_unwritable(error)
        return [TradeoffPoint(budget.name, error=one_line(error))]
    first, *others = _deliver(sent, budget.name, outcome.final, opened, planned)
    notes = (*planned.notes, *outcome.notes, first.notes)
    return [replace(first, notes=in_flags("; ".join(filter(None, notes)))), *others]


def _raise_unwritable(error: PruneError) -> None:
    """A full disk says nothing of a point: the sweep breaks off, and makes it when resumed."""
    if isinstance(error.__cause__, OSError):
        raise error


def _prune(sent: _Sent, budget: Budget, opened: _Opened) -> tuple[Planned, Outcome]:
    """Plan one budget from the common measurements, carry it out and save the network."""
    settings, known = settings_of(sent.options), sent.planned
    folder = folder_of(sent.out, budget.name)
    folder.mkdir(exist_ok=True)
    case = replace(opened.case, kept=Kept(folder))

    def make() -> Planned:
        with case.log.stage("allocate"):
            fitted = plan_within(case, known.measured, known.ranking, budget, settings)
        notes = (fitted.note,) if fitted.note else ()
        return replace(known, model=case.model, plan=fitted.plan, notes=notes)

    planned = plan_once(case, settings, make, measured=known.measured)
    outcome = carry_out(planned, settings, case)
    write_forecast(folder, case, planned, outcome, budget, settings.select)
    write_text(folder / "plan.json", planned.plan.to_json())
    save_result(folder, opened.checkpoint, case, planned, outcome.final)
    write_run(folder, f"prune-dl sweep ({budget.name})", sent.options, case.data.name)
    return planned, outcome


def _deliver(
    sent: _Sent, name: str, model: nn.Module, opened: _Opened, planned: Planned
) -> Iterator[TradeoffPoint]:
    """One file for every wanted precision, checked, with its own held-out accuracy."""
    left, data = planned.left, opened.case.data
    empty = TradeoffPoint(name, macs=left.macs, params=left.params)
    network = copy.deepcopy(model).cpu()
    plan = "" if name == ORIGINAL else planned.plan.digest
    metadata = describe(data, plan=plan, source=opened.checkpoint.sha256 or "")
    for precision in precisions(sent.options):
        path = folder_of(sent.out, name) / f"{precision}.onnx"
        path.parent.mkdir(exist_ok=True)
        point = replace(empty, format=precision, file=str(path.relative_to(sent.out)))
        try:
            with opened.case.log.stage(f"export {precision}") as progress:
                exported = export_checked(
                    network,
                    data,
                    path,
                    Variant(opset=sent.options.opset, half=precision == "float16"),
                    metadata=metadata,
                    quantisation=(
                        Quantisation(sent.options.max_drop / 100) if precision == "int8" else None
                    ),
                    progress=progress,
                )
        except PruneError as error:
            _raise_unwritable(error)
            yield replace(point, error=one_line(error))
            continue
        yield replace(
            point,
            accuracy=_counted(exported),
            size_bytes=exported.size_bytes,
            notes=_notes(exported),
        )


def _counted(exported: Exported) -> Accuracy:
    assert isinstance(exported.score, Accuracy), "`_work` refuses several labels for an image"
    return exported.score


def _notes(exported: Exported) -> str:
    """How an INT8 file came about; nothing for a float file."""
    if (int8 := exported.quantised) is None:
        return ""
    kept = "; ".join(f"{layer} in float: {why}" for layer, why in int8.kept_float.items())
    return "; ".join(filter(None, (int8.recipe, kept)))
