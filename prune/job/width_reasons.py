"""Why every layer keeps so many filters: what the allocation weighed, and what bounded it."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from ...evaluate.report.lines import LayerLine
from ..options import SelectOptions
from ..selection.round_widths import COARSEST, round_widths, step_of
from ..structure.units import Group
from .known import Planned


def with_reasons(
    lines: tuple[LayerLine, ...], planned: Planned, select: SelectOptions
) -> tuple[LayerLine, ...]:
    """The lines of a plan, those of its groups with why they keep so many.

    Args:
        lines: as `layer_lines` gives them. Those of whole layers have their own reason.
    """
    if len(planned.ranking.error) != len(planned.plan.layers):
        return lines
    reasons = width_reasons(planned, select)
    return tuple(
        line if line.reason or line.name not in reasons else replace(line, why=reasons[line.name])
        for line in lines
    )


def width_reasons(planned: Planned, select: SelectOptions) -> dict[str, str]:
    """Group -> what decided on its width, in words."""
    groups, layers = planned.measured.structure.groups, planned.plan.layers
    coarsest = _coarsest(planned, select)
    return {
        group.name: "; ".join(_parts(planned, select, at, group, len(layer.kept), coarsest))
        for at, (group, layer) in enumerate(zip(groups, layers, strict=True))
    }


def _parts(
    planned: Planned, select: SelectOptions, at: int, group: Group, kept: int, coarsest: int
) -> Iterator[str]:
    width = len(group.units)
    if select.allocate == "uniform":
        yield "the same share in every layer"
    elif select.steps > 1:
        yield f"in {select.steps} steps, each weighed by itself"
    else:
        yield from _weighed(planned, at, group, width - kept)
    yield from _bounded(planned, select, group, kept, coarsest)


def _weighed(planned: Planned, at: int, group: Group, num_removed: int) -> Iterator[str]:
    """What its readers lose, and how much that counts."""
    lost = [float(error_M[num_removed]) for error_M in planned.ranking.error[at].values()]
    if not num_removed:
        yield "the budget is met more cheaply elsewhere"
    elif lost:
        yield f"the layers that read it lose {100 * max(lost):.2g} % of their response"
    known = planned.measured.sensitivity
    middle = median(known.values()) if known else 0.0
    if middle > 0:
        times = known[group.name] / middle
        yield f"an error in it changes the outputs {times:.2g} times as much as in the median layer"


def _bounded(
    planned: Planned, select: SelectOptions, group: Group, kept: int, coarsest: int
) -> Iterator[str]:
    """Which widths it could have."""
    width, efficient = len(group.units), planned.measured.efficient
    fast = efficient.get(group.name, ())
    step = select.multiple or step_of(width, coarsest)
    if kept in fast and len(fast) < width:
        yield "a width that is fast here"
        step = 1
    elif step > 1 and kept < width:
        yield f"widths in steps of {step}"
    if kept == min(select.at_least, width) and select.at_least > 1:
        yield f"no fewer than {select.at_least}, as you asked"
    elif kept <= step and kept < width:
        yield "the least that it may have"


def _coarsest(planned: Planned, select: SelectOptions) -> int:
    """The steps of round widths that the budget allowed: the first of `COARSEST` that all layers
    have; 1 where widths were chosen in another way."""
    chosen = select.multiple is not None or select.allocate == "uniform" or select.steps > 1
    if chosen or planned.measured.efficient or select.latency_ms is not None:
        return 1
    kept = {layer.name: len(layer.kept) for layer in planned.plan.layers}
    for coarsest in COARSEST:
        round_of = round_widths(planned.measured.structure, coarsest)
        if all(kept[name] in widths for name, widths in round_of.items()):
            return coarsest
    return 1
