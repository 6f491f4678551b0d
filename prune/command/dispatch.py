"""What each sub-command does, once its options are known."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from ...evaluate.measure.environment import describe_environment
from ..checks import check_ranges, check_texts
from ..errors import InputError, UsageError
from ..folder import has_unfinished
from ..options import NetworkOptions, RetrainOptions, RunOptions, SaidOptions, SelectOptions
from ..progress import RunLog
from ..terminal import listening, logger
from .checks import check_job, check_resume
from .ending import show_end
from .figures import in_words
from .options_file import to_tables
from .run_log import log_of, stages_of
from .tables import (
    show_comparison,
    show_document,
    show_facts,
    show_points,
    show_report,
    show_spectrum,
    write_result,
)
from .trees import (
    Bench,
    Completion,
    Demo,
    Doctor,
    Evaluate,
    Export,
    FirstTraining,
    Init,
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
    run = getattr(options, "run", SaidOptions())
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
    from ..output_score import OUTPUT_FIDELITY
    from .ending import after_job
    from .opening import default_out
    from .prune import check_drop, check_latency, run_job

    start = perf_counter()
    report, outcome = run_job(options, command)
    if options.run.json:
        show_document(report.to_dict())
    else:
        show_report(report)
        place = options.run.out or default_out(options.network.model)
        is_by_outputs = outcome.held_out["original"].key == OUTPUT_FIDELITY
        next_steps = after_job(options, by_outputs=is_by_outputs)
        show_end(place, perf_counter() - start, next_steps, "report.html")
    check_drop(options, outcome)
    check_latency(options, report)


def _dry_run(options: Job) -> None:
    from .dry_run import dry_run, show_dry_run

    found = dry_run(options)
    if options.run.json:
        show_document(found.to_dict())
    else:
        show_dry_run(found)


def _train(options: Train, command: str) -> None:
    from .ending import after_train
    from .train import run_train

    start = perf_counter()
    result = run_train(options)
    if options.run.json:
        show_document(result)
        return
    show_facts("trained", in_words(result))
    file = result["file"]
    show_end(Path(file), perf_counter() - start, after_train(options, file))


def _rank(options: Rank, command: str) -> None:
    from .ending import after_rank
    from .rank import layer_rows, ranked_folder, run_rank

    start = perf_counter()
    spectrum = run_rank(options, command)
    rows = layer_rows(spectrum)
    if options.run.json:
        show_document({"probe": spectrum.probe, "layers": rows})
        return
    show_spectrum(rows)
    place = ranked_folder(options)
    show_end(place, perf_counter() - start, after_rank(options), "filters.html")


def _sweep(options: Sweep, command: str) -> None:
    from ...evaluate.report.tradeoff import tradeoff_rows
    from .ending import after_sweep
    from .sweep.folder import sweep_folder
    from .sweep.points import run_sweep

    start = perf_counter()
    tradeoff = run_sweep(options, command)
    found = tradeoff_rows(tradeoff)
    if options.run.json:
        show_document({"points": found})
        return
    show_points(found, tradeoff.measure)
    place = sweep_folder(options)
    show_end(place, perf_counter() - start, after_sweep(options), "tradeoff.html")


def _export(options: Export, command: str) -> None:
    from .ending import after_export
    from .export import export_file, export_hub_folder

    start = perf_counter()
    result = export_hub_folder(options) if options.hub_folder else export_file(options)
    if options.run.json:
        show_document(result)
        return
    show_facts("exported", in_words(result))
    place = Path(result.get("file") or result["folder"])
    steps = [] if options.hub_folder else after_export(options, str(place))
    show_end(place, perf_counter() - start, steps)


def _bench(options: Bench, command: str) -> None:
    from ...evaluate.measure.latency import compare

    with RunLog(show=not options.run.quiet).stage("benchmark") as progress:
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
        show_facts("test part", in_words(result))


def _demo(options: Demo, command: str) -> None:
    from .train import run_train

    weights, pruned = options.out / "vgg6_digits.pt", options.out / "pruned"
    if pruned.exists():
        raise UsageError(
            f"`out={options.out}` holds a demo that is done: open {pruned / 'report.html'}, or "
            "give another folder"
        )
    unfinished, said = Path(f"{weights}.resume").is_file(), vars(options.run)
    try:
        if not weights.exists():
            run_train(
                Train(
                    arch="vgg6",
                    train=FirstTraining(epochs=DEMO_TRAINING_EPOCHS, lr=0.02, batch_size=64),
                    run=RunOptions(out=weights, resume=unfinished, **said),
                )
            )
        job = Job(
            network=NetworkOptions(model=str(weights)),
            select=SelectOptions(keep=options.keep),
            retrain=RetrainOptions(epochs=DEMO_RETRAINING_EPOCHS, batch_size=64),
            run=RunOptions(out=pruned, json=options.json, resume=has_unfinished(pruned), **said),
        )
        _job(job, command)
    except KeyboardInterrupt as stop:
        if weights.exists() or Path(f"{weights}.resume").is_file():
            stop.__notes__ = [
                f"what was finished is kept in {options.out}; the same command goes on with it"
            ]
        raise


def _doctor(options: Doctor, command: str) -> None:
    from .doctor import PROBLEMS, examine, verdict

    facts = examine()
    if options.json:
        show_document(facts)
        return
    if not options.quiet:
        show_facts("this machine", [(key, str(facts[key])) for key in facts if key != PROBLEMS])
    for line in verdict(facts):
        write_result(line)


def _init(options: Init, command: str) -> None:
    from .ending import typed
    from .init import write_config

    start = perf_counter()
    file = write_config(options)
    steps = [typed("prune", "--config", str(file), *more) for more in (["--dry-run"], [])]
    show_end(file, perf_counter() - start, steps)


def _completion(options: Completion, command: str) -> None:
    from .completion import completion_script

    print(completion_script(options.shell))


RUN: dict[type[Any], Callable[[Any, str], None]] = {
    Job: _job,
    Train: _train,
    Rank: _rank,
    Sweep: _sweep,
    Export: _export,
    Bench: _bench,
    Evaluate: _evaluate,
    Demo: _demo,
    Init: _init,
    Doctor: _doctor,
    Completion: _completion,
}
"""What runs a tree of options: (options, what was typed)."""
