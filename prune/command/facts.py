"""What the state of a run belongs to: the network, the data and the options that decide."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from ..inputs.checkpoint import Checkpoint
from ..inputs.identity import data_facts
from ..job.known import Case
from ..options import DataOptions, NetworkOptions, RunOptions, Settings

PLACES = (NetworkOptions, DataOptions, RunOptions)
"""Options of these groups say where things are, or how they are opened; what was found there is
compared instead."""


def job_facts(checkpoint: Checkpoint, case: Case, settings: Settings) -> dict[str, Any]:
    """Facts of the whole job. The benchmark's options decide only where latency does."""
    options = [settings.select, settings.retrain]
    latency = settings.select.latency_ms is not None or settings.select.hardware_widths
    return case_facts(checkpoint, case) | options_facts(*options, *[settings.bench] * bool(latency))


def case_facts(checkpoint: Checkpoint, case: Case) -> dict[str, Any]:
    """Facts of network and data, by their names in the words of errors."""
    output, kept = checkpoint.origin.output, checkpoint.origin.labels_kept
    return {
        **({} if output is None else {"`output`": output}),
        **({"`labels_kept`": ", ".join(case.data.labels)} if kept else {}),
        "`model`": case.digest,
        "`arch`": checkpoint.origin.arch,
        **data_facts(case.data),
        "`seed`": case.seed,
    }


def options_facts(*groups: Any) -> dict[str, Any]:
    """Every option of some groups, in backquotes."""
    return {f"`{name}`": value for group in groups for name, value in _leaves(group)}


def _leaves(group: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(group):
        value = getattr(group, field.name)
        if not is_dataclass(value):
            yield field.name, value
        elif not isinstance(value, PLACES):
            yield from _leaves(value)
