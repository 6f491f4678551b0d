"""Flags that do not go together are refused here, in one line, before anything is read."""

from ..checks import check_criterion, check_selection
from ..errors import UsageError
from ..options import SelectOptions
from .trees import Job, Rank


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
    steps = options.select.steps
    if steps > 1 and options.dry_run:
        raise UsageError(
            f"`dry_run` given with `steps={steps}`; later steps are planned on retrained networks, "
            "so leave one of them out"
        )


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
