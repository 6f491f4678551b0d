"""`prune-dl sweep`: one network at several budgets, from one pass of statistics.

Every budget becomes a folder with its network and its files in the wanted precisions; its figures
go to `point.json` when it is done, so that `--resume` only does what is missing. All accuracies
are those of the files themselves on held-out images: picking one of them is a choice, and choices
are not made on the test part. At the end all files are timed against each other, interleaved.
"""

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ....evaluate.measure.accuracy import Accuracy
from ....evaluate.report.tradeoff import Tradeoff, TradeoffPoint
from ....evaluate.report.tradeoff_page import write_tradeoff
from ....export.checked import Exported, export_checked
from ....export.metadata import describe
from ....export.quantise import Quantisation
from ....export.session import require_provider
from ....export.variants import Variant
from ...errors import PruneError
from ...folder import Diary
from ...inputs.checkpoint import Checkpoint
from ...inputs.split import DataSet
from ...job.budget import fit
from ...job.plan import Planned, make_plan, trials_of
from ...job.stages import carry_out
from ...options import Sweep
from ..distribute import ray_map
from ..prune import default_out, open_inputs, save_network
from .budgets import Budget, budgets_of
from .folder import folder_of, is_done, open_folder, read_points, write_points
from .timing import time_files

ORIGINAL = "original"
MAX_REASON = 300


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
    stem = default_out(options.network.model)
    out = options.run.out or stem.with_name(f"{stem.name}-sweep")
    open_folder(out, options)
    diary = Diary(show=True)
    pending = [budget for budget in budgets if not is_done(out, budget.name)]
    if pending or not is_done(out, ORIGINAL):
        _work(options, pending, out, diary)
    names = (ORIGINAL, *(budget.name for budget in budgets))
    points = [point for name in names for point in read_points(out, name)]
    tradeoff = time_files(options, command, points, out, diary)
    write_tradeoff(tradeoff, out)
    return tradeoff


@dataclass(frozen=True)
class _Sent:
    """What a point needs besides its budget; network and data are opened where it is made."""

    options: Sweep
    planned: Planned
    out: Path
    working_folder: Path


@dataclass(frozen=True)
class _Inputs:
    checkpoint: Checkpoint
    data: DataSet
    device: torch.device


def _work(options: Sweep, pending: list[Budget], out: Path, diary: Diary) -> None:
    """Measure once, then make the files of the original and of every missing budget."""
    inputs = _Inputs(*open_inputs(options.network, options.data, options.run, diary))
    planned = _measure(options, pending, inputs, diary)
    sent = _Sent(options, planned, out.absolute(), Path.cwd())
    if not is_done(out, ORIGINAL):
        model = inputs.checkpoint.model
        files = list(_deliver(sent, ORIGINAL, model, inputs, planned, diary))
        write_points(out, ORIGINAL, files)
    if options.distributed == "ray":
        with diary.stage("points") as progress:
            gpu = inputs.device.type == "cuda"
            for done, (at, made) in enumerate(ray_map(_make_remotely, sent, pending, gpu=gpu)):
                _keep(out, pending[at], made)
                progress(done + 1, len(pending))
        return
    for budget in pending:
        _keep(out, budget, _make_or_fail(sent, budget, inputs))


def _measure(options: Sweep, pending: list[Budget], inputs: _Inputs, diary: Diary) -> Planned:
    """Statistics, ranking and hardware widths for all budgets; its plan keeps everything."""
    select = Budget("keep", 1.0).select(options)
    if options.hardware_widths is None and any(b.kind == "latency_ms" for b in pending):
        select = replace(select, hardware_widths=options.bench.provider)
    return make_plan(
        inputs.checkpoint.model,
        inputs.data,
        select,
        device=inputs.device,
        seed=options.run.seed,
        diary=diary,
        bench=options.bench,
    )


def _keep(out: Path, budget: Budget, made: list[TradeoffPoint] | Exception) -> None:
    """Write the rows of a point; one that broke off is a row too, and made again by `--resume`."""
    if isinstance(made, Exception):
        reason = f"{type(made).__name__}: {' '.join(str(made).split())}"[:MAX_REASON]
        write_points(out, budget.name, [TradeoffPoint(budget.name, error=reason)], done=False)
    else:
        write_points(out, budget.name, made)


def _make_remotely(sent: _Sent, budget: Budget) -> list[TradeoffPoint]:
    os.chdir(sent.working_folder)
    options = sent.options
    inputs = _Inputs(*open_inputs(options.network, options.data, options.run, Diary()))
    return _make(sent, budget, inputs, show=False)


def _make_or_fail(sent: _Sent, budget: Budget, inputs: _Inputs) -> list[TradeoffPoint] | Exception:
    try:
        return _make(sent, budget, inputs, show=True)
    except Exception as error:  # whatever it is, the other points are still wanted
        return error


def _make(sent: _Sent, budget: Budget, inputs: _Inputs, show: bool) -> list[TradeoffPoint]:
    """The files of one budget, or a row that says why there are none.

    What was decided on the way is noted in the first row.
    """
    diary = Diary(show=show)
    try:
        planned = _plan(sent, budget, inputs, diary)
        model = _prune(sent, budget, inputs, planned, diary)
    except PruneError as error:
        return [TradeoffPoint(budget.name, error=" ".join(str(error).split()))]
    first, *others = _deliver(sent, budget.name, model, inputs, planned, diary)
    return [replace(first, notes="; ".join(filter(None, (*diary.warnings, first.notes)))), *others]


def _plan(sent: _Sent, budget: Budget, inputs: _Inputs, diary: Diary) -> Planned:
    """The plan of one budget, from the common measurements."""
    planned, model = sent.planned, inputs.checkpoint.model
    trials = trials_of(model, inputs.data, planned.measured, sent.options.bench, inputs.device)
    select = budget.select(sent.options)
    fitted = fit(planned.measured, planned.ranking, select, trials)
    diary.warnings += [fitted.note] if fitted.note else []
    return replace(planned, plan=fitted.plan)


def _prune(
    sent: _Sent, budget: Budget, inputs: _Inputs, planned: Planned, diary: Diary
) -> nn.Module:
    """Carry a plan out and save the network; returns it."""
    options = sent.options
    folder = folder_of(sent.out, budget.name)
    folder.mkdir(exist_ok=True)
    outcome = carry_out(
        inputs.checkpoint.model,
        inputs.data,
        planned,
        budget.select(options),
        options.retrain,
        device=inputs.device,
        seed=options.run.seed,
        diary=diary,
    )
    (folder / "plan.json").write_text(planned.plan.to_json(), encoding="utf-8")
    save_network(folder, inputs.checkpoint, inputs.data, planned, outcome)
    return outcome.final


def _deliver(
    sent: _Sent,
    name: str,
    model: nn.Module,
    inputs: _Inputs,
    planned: Planned,
    diary: Diary,
) -> Iterator[TradeoffPoint]:
    """One file for every wanted precision, checked, with its own held-out accuracy."""
    left = planned.left()
    empty = TradeoffPoint(name, macs=left.macs, params=left.params)
    network = copy.deepcopy(model).cpu()
    plan = "" if name == ORIGINAL else planned.plan.digest
    metadata = describe(inputs.data, plan=plan, source=inputs.checkpoint.sha256 or "")
    for precision in precisions(sent.options):
        path = folder_of(sent.out, name) / f"{precision}.onnx"
        path.parent.mkdir(exist_ok=True)
        point = replace(empty, format=precision, file=str(path.relative_to(sent.out)))
        try:
            with diary.stage(f"export {name} {precision}") as progress:
                exported = export_checked(
                    network,
                    inputs.data,
                    path,
                    Variant(half=precision == "float16"),
                    metadata=metadata,
                    quantisation=(
                        Quantisation(sent.options.max_drop / 100) if precision == "int8" else None
                    ),
                    progress=progress,
                )
        except PruneError as error:
            yield replace(point, error=" ".join(str(error).split()))
            continue
        yield replace(
            point,
            accuracy=Accuracy(exported.correct, exported.total),
            size_bytes=exported.size_bytes,
            notes=_notes(exported),
        )


def _notes(exported: Exported) -> str:
    """How an INT8 file came about; nothing for a float file."""
    if (int8 := exported.quantised) is None:
        return ""
    kept = "; ".join(f"{layer} in float: {why}" for layer, why in int8.kept_float.items())
    return "; ".join(filter(None, (int8.recipe, kept)))


def precisions(options: Sweep) -> tuple[str, ...]:
    """The formats of a sweep's files."""
    wanted = {"float32": True, "float16": options.fp16, "int8": options.int8}
    return tuple(name for name, asked in wanted.items() if asked)
