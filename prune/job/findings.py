"""What a report tells of the networks of a job beside its stages: other budgets, every label."""

from ...evaluate.measure.answers import compare_answers
from ...evaluate.report.label_change import LabelChange, label_change
from ...evaluate.report.thumbnails import InputScale
from ..inputs.split import DataSet
from ..options import SelectOptions
from .account import Findings
from .forecast import make_forecast
from .judge import has_learned_held_out
from .known import Case, Planned
from .stages import Outcome


def look_into(
    case: Case,
    planned: Planned,
    outcome: Outcome,
    select: SelectOptions,
    *,
    held_out: bool = False,
) -> Findings:
    """The forecast, and whether the network has probably seen the held-out images.

    Args:
        held_out: also what became of every label on the held-out images: there is no test part.
    """
    return Findings(
        make_forecast(case, planned, outcome, select),
        _labels_held_out(case, outcome) if held_out else None,
        None if case.outputs else has_learned_held_out(case),
    )


def _labels_held_out(case: Case, outcome: Outcome) -> LabelChange | None:
    if case.outputs is not None:
        return None
    compared = compare_answers(case.model, outcome.final, case.data.held_out, device=case.device)
    return label_change(compared, case.shown_labels, "held-out", scale_of(case.data))


def scale_of(data: DataSet) -> InputScale:
    """What inputs have to be undone with to be pictures again."""
    return InputScale(data.mean, data.std, data.channel_order == "bgr")
