"""What each sub-command does, once its options are known."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...evaluate.measure.environment import describe_environment
from ..checks import check_ranges, check_texts
from ..errors import InputError, UsageError
from ..folder import has_unfinished
from ..options import NetworkOptions, RetrainOptions, RunOptions, SelectOptions
from ..progress import RunLog
from ..terminal import listening, logger
from .checks import check_job, check_resume
from .options_file import to_tables
from .run_log import log_of, stages_of
from .tables import show_comparison, show_document, show_layers, show_report, show_table
from .trees import (
    Bench,
    Completion,
    Demo,
    Doctor,
    Evaluate,
    Export,
    FirstTraining,
    Job,
    Rank,
    Sweep,
    Train,
)

DEMO_TRAINING_EPOCHS = 6
DEMO_RETRAINING_EPOCHS = 3
"""Enough for VGG-6 to learn the digits, and to keep what it knows, within a minute on two cores."""


def run_command(options: Any, command: str) -> None:
    """Run the command that these options belong to.

    Args:
        command: what was typed, for run.json and the report.
    """
    check_texts(options)
    check_ranges(options)
    check_resume(options)
    run = getattr(options, "run", RunOptions())
    with listening(quiet=run.quiet, verbose=run.verbose, file=run.log):
        logger.debug("%s", command)
        logger.debug("options: %s", to_tables(options))
        if run.verbose or run.log:
            logger.debug("on: %s", describe_environment())
        RUN[type(options)](options, command)


def _job(options: Job, command: str) -> None:
    check_job(options)
    if options.dry_run:
        _dry_run(options)
        return
    from .prune import check_drop, check_latency, run_job

    report, outcome = run_job(options, command)
    show_document(report.to_dict()) if options.run.json else show_report(report)
    check_drop(options, outcome)
    check_latency(options, report)


def _dry_run(options: Job) -> None:
    from ..job.account import layer_lines
    from ..job.plan import make_plan
    from ..structure.choice import Choice
    from .opening import open_case

    where = (options.network, options.data, options.run)
    log = log_of(options.run, stages_of(options))
    _, case = open_case(*where, log, options.labels_kept)
    Choice.of(options.select).check(case.model)
    planned = make_plan(case, options.select.budget, options.settings)
    lines = layer_lines(case.model, planned)
    if options.run.json:
        show_document({"layers": [asdict(line) for line in lines]})
    else:
        show_layers(lines)


def _train(options: Train, command: str) -> None:
    from .train import run_train

    result = run_train(options)
    if options.run.json:
        show_document(result)
    else:
        plain = {k: _cell(v) for k, v in result.items() if not isinstance(v, (dict, list))}
        show_table("trained", tuple(plain), [tuple(plain.values())])


def _rank(options: Rank, command: str) -> None:
    from .rank import layer_rows, run_rank

    spectrum = run_rank(options, command)
    rows = layer_rows(spectrum)
    if options.run.json:
        show_document({"probe": spectrum.probe, "layers": rows})
    else:
        cells = [[_cell(value) for value in row.values()] for row in rows]
        show_table("what each layer selects", tuple(rows[0]), cells)


def _sweep(options: Sweep, command: str) -> None:
    from ...evaluate.report.tradeoff import tradeoff_rows
    from .sweep.points import run_sweep

    tradeoff = run_sweep(options, command)
    found = tradeoff_rows(tradeoff)
    if options.run.json:
        show_document({"points": found})
        return
    measured = (tradeoff.measure, "latency_ms", "size_bytes")
    shown = ("name", "format", "on_front", *measured, "error")
    show_table("trade-off", shown, [[_cell(row[name]) for name in shown] for row in found])


def _export(options: Export, command: str) -> None:
    from .export import export_file, export_hub_folder

    result = export_hub_folder(options) if options.hub_folder else export_file(options)
    if options.run.json:
        show_document(result)
    else:
        show_table("exported", ("", ""), [(key, _cell(value)) for key, value in result.items()])


def _bench(options: Bench, command: str) -> None:
    from ...evaluate.measure.latency import compare

    with RunLog(show=True).stage("benchmark") as progress:
        comparison = compare(
            {str(path): path for path in options.files},
            options.bench,
            input_size=options.input_size,
            progress=progress,
        )
    if options.json:
        show_document(asdict(comparison))
        return
    show_comparison(comparison)


def _evaluate(options: Evaluate, command: str) -> None:
    from ...evaluate.measure.accuracy import measure_score
    from .opening import open_case
    from .said import input_document

    log = log_of(options.run, stages_of(options))
    _, case = open_case(options.network, options.data, options.run, log)
    if case.data.unlabeled:
        raise InputError(
            f"`data={case.data.name}` given, whose images have no labels to measure an accuracy "
            "with: the network's own answers are right by definition; give labelled images"
        )
    with log.stage("evaluate") as progress:
        result = measure_score(
            case.model, case.data.test, device=case.device, progress=progress
        ).plain
    if options.run.json:
        show_document({**result, "input": input_document(case.data)})
    else:
        show_table("test part", tuple(result), [[_cell(value) for value in result.values()]])


def _demo(options: Demo, command: str) -> None:
    from .train import run_train

    weights, pruned = options.out / "vgg6_digits.pt", options.out / "pruned"
    if pruned.exists():
        raise UsageError(
            f"`out={options.out}` holds a demo that is done: open {pruned / 'report.html'}, or "
            "give another folder"
        )
    unfinished = Path(f"{weights}.resume").is_file()
    try:
        if not weights.exists():
            run_train(
                Train(
                    arch="vgg6",
                    train=FirstTraining(epochs=DEMO_TRAINING_EPOCHS, lr=0.02, batch_size=64),
                    run=RunOptions(out=weights, resume=unfinished),
                )
            )
        job = Job(
            network=NetworkOptions(model=str(weights)),
            select=SelectOptions(keep=options.keep),
            retrain=RetrainOptions(epochs=DEMO_RETRAINING_EPOCHS, batch_size=64),
            run=RunOptions(out=pruned, json=options.json, resume=has_unfinished(pruned)),
        )
        _job(job, command)
    except KeyboardInterrupt as stop:
        if weights.exists() or Path(f"{weights}.resume").is_file():
            stop.__notes__ = [
                f"what was finished is kept in {options.out}; the same command goes on with it"
            ]
        raise


def _doctor(options: Doctor, command: str) -> None:
    from .doctor import examine

    facts = examine()
    if options.json:
        show_document(facts)
    else:
        show_table("this machine", ("", ""), [(key, str(value)) for key, value in facts.items()])


def _completion(options: Completion, command: str) -> None:
    from .completion import completion_script

    print(completion_script(options.shell))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


RUN: dict[type[Any], Callable[[Any, str], None]] = {
    Job: _job,
    Train: _train,
    Rank: _rank,
    Sweep: _sweep,
    Export: _export,
    Bench: _bench,
    Evaluate: _evaluate,
    Demo: _demo,
    Doctor: _doctor,
    Completion: _completion,
}
"""What runs a tree of options: (options, what was typed)."""
