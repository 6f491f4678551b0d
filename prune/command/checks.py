"""Flags that do not go together are refused here, in one line, before anything is read."""

from typing import Any

from ..checks import check_criterion, check_selection
from ..errors import UsageError
from ..options import SelectOptions
from .trees import Job, Rank, Sweep, Train


def check_job(options: Job) -> None:
    """What the flags of the main job must satisfy together.

    Raises:
        UsageError: flags that do not go together, in one line.
    """
    check_selection(options.select)
    check_judge(options)
    check_track(options)
    if options.data.held_out == 0:
        raise UsageError("`held_out=0` given; held-out images make every choice, so give a share")
    if options.select.cut_depth and options.dry_run:
        raise UsageError("`dry_run` given with `cut_depth`, which a plan alone cannot decide")
    if options.select.cut_depth and options.labels_kept:
        raise UsageError(
            "`labels_kept` given with `cut_depth`, which solves the classifier again; expected one "
            "of them; leave one out"
        )
    steps = options.select.steps
    if steps > 1 and options.dry_run:
        raise UsageError(
            f"`dry_run` given with `steps={steps}`; later steps are planned on retrained networks, "
            "so leave one of them out"
        )


def judges_outputs(options: Job) -> bool:
    """Whether the user wants outputs to judge, whatever the network gives."""
    return options.judge == "outputs" or bool(options.part or options.metric)


def said_of_labels(options: Job) -> dict[str, Any]:
    """What was said of labels, by its name."""
    data = options.data
    said = {
        "output": options.network.output,
        "labels_kept": ",".join(options.labels_kept),
        "label_names": options.label_names,
        "labels": data.labels,
        "label_order": data.label_order,
        "unlabeled": data.unlabeled,
        "multi_label": data.multi_label,
    }
    return {name: value for name, value in said.items() if value}


def check_judge(options: Job) -> None:
    """Refuse what belongs to classifiers where outputs judge, and outputs where answers do.

    Raises UsageError.
    """
    if not judges_outputs(options):
        return
    answers = {"judge": options.judge} if options.judge == "answers" else {}
    for name, value in (said_of_labels(options) | answers).items():
        raise UsageError(
            f"`{name}={value}` given for a network that is judged by its outputs (as "
            "`judge=outputs`, `part` and `metric` ask for), whatever they are; leave it out"
        )


RESUMABLE = (Job, Train, Rank, Sweep)
"""Commands that keep what they have finished."""


def check_track(options: Job) -> None:
    """Refuse `track` where nothing is done; raises UsageError."""
    if options.dry_run and options.track is not None:
        raise UsageError(
            f"`track={options.track}` given with `dry_run`, which has no figures to send; "
            "leave one of them out"
        )


def check_resume(options: Any) -> None:
    """Refuse `resume` where there is never anything to go on from.

    Raises:
        UsageError: the command keeps nothing, or was told to write nothing.
    """
    run = getattr(options, "run", None)
    dry = getattr(options, "dry_run", False)
    if getattr(run, "resume", False) and (dry or not isinstance(options, RESUMABLE)):
        given = "with `dry_run`, which" if dry else "to a command that"
        raise UsageError(f"`resume` given {given} leaves nothing to go on from; leave it out")


def check_rank(options: Rank) -> None:
    """What the flags of `prune-dl rank` must satisfy together.

    Raises:
        UsageError: epochs of a probe that has none; a bad budget.
    """
    check_criterion(options.rank)
    epochs = options.probe_epochs
    if epochs is not None and options.probe == "ridge":
        raise UsageError(
            f"`probe_epochs={epochs}` given with `probe=ridge`, which has no epochs; "
            "add `probe=softmax` or `probe=sgd`, or leave it out"
        )
    if has_budget(options):
        check_selection(marked(options))


def has_budget(options: Rank) -> bool:
    """Whether filters are to be marked as kept or not."""
    return any(share is not None for share in (options.keep, options.macs, options.params))


def marked(options: Rank) -> SelectOptions:
    """The selection whose filters are marked."""
    return SelectOptions(keep=options.keep, macs=options.macs, params=options.params)
