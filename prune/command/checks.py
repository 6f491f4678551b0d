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


RESUMABLE = (Job, Train, Rank, Sweep)
"""Commands that keep what they have finished."""


def check_resume(options: Any) -> None:
    """Refuse `resume` where there is never anything to go on from.

    Raises:
        UsageError: the command keeps nothing, or was told to write nothing.
    """
    run = getattr(options, "run", None)
    dry = getattr(options, "dry_run", False)
    if run is not None and run.resume and (dry or not isinstance(options, RESUMABLE)):
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
