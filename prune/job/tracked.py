"""The final figures of a job, for a tracker."""

from ..progress import RunLog
from .known import Planned
from .stages import Outcome


def track_result(
    log: RunLog, planned: Planned, outcome: Outcome, latency_ratio: float | None = None
) -> None:
    """Give the log's tracker held-out scores of every stage, and what both networks have.

    Args:
        latency_ratio: how many times as fast the smaller network is, where it was measured.
    """
    for stage, score in outcome.held_out.items():
        log.figures(stage, {f"held_out_{score.key}": score.value})
    for stage, amounts in (("original", planned.original), ("final", planned.left)):
        counts = {"filters": amounts.keep, "macs": amounts.macs, "params": amounts.params}
        log.figures(stage, counts)
    if latency_ratio is not None:
        log.figures("final", {"latency_ratio": latency_ratio})
