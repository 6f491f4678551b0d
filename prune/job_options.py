"""What `compress` takes by name: options of a job, checked and put where they belong."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Literal, TypedDict

from torch import Tensor

from .checks import check_ranges, check_selection
from .errors import UsageError
from .options import BenchOptions, Provider, RetrainOptions, SelectOptions, Settings
from .selection.custom import name_of
from .training.loss import can_be_mixed


class JobOptions(TypedDict, total=False):
    """What `compress` takes by name: the flags of `prune-dl`, as `options` explains them.

    Exactly one budget: keep, macs, params or latency_ms; or max_drop alone.
    """

    keep: float
    macs: float
    params: float
    latency_ms: float
    max_drop: float
    rank: str | Callable[..., Any]
    allocate: Literal["output", "sr", "error", "uniform"]
    multiple: int
    hardware_widths: Provider
    whole: Sequence[str]
    only: Sequence[str]
    at_least: int
    repair: bool
    images: int
    cut_depth: bool
    steps: int
    epochs: int
    lr: float
    batch_size: int
    distill: bool
    temperature: float
    mixup: float
    averaging: float
    patience: int
    provider: Provider
    latency_batch: int
    threads: int
    bench_seconds: float


def settings_of_call(given: dict[str, Any]) -> Settings:
    """Options by their names, each where it belongs.

    Raises UsageError for names that no option has, and for values out of range.
    """
    kinds = (SelectOptions, RetrainOptions, BenchOptions)
    known = [{field.name for field in fields(kind)} for kind in kinds]
    unknown = sorted(set(given).difference(*known))
    if unknown:
        raise UsageError(
            f"compress({unknown[0]}=...) given; expected one of "
            f"{', '.join(sorted(set().union(*known)))}"
        )
    given = dict(given)
    if callable(given.get("rank")):
        given = {**given, "rank": name_of(given["rank"])}
    given |= {name: as_layers(given[name]) for name in ("whole", "only") if name in given}
    select, retrain, bench = (
        {name: value for name, value in given.items() if name in names} for names in known
    )
    settings = Settings(SelectOptions(**select), RetrainOptions(**retrain), BenchOptions(**bench))
    check_ranges(settings)
    check_selection(settings.select)
    return settings


def check_inputs(example: Any, settings: Settings) -> None:
    """Refuse, before any work, what needs one image tensor for inputs that are something else.

    Raises UsageError for latency, which is measured on an ONNX file, and for mixup.
    """
    select = settings.select
    several = not isinstance(example, Tensor)
    for name in ("latency_ms", "hardware_widths"):
        if several and getattr(select, name) is not None:
            raise UsageError(
                f"`{name}` given for a network of several inputs; expected one tensor of images, "
                "since latency is measured on an ONNX file of one input; give another budget"
            )
    if settings.retrain.mixup and not can_be_mixed(example):
        raise UsageError(
            "`mixup` given for inputs of whole numbers, which cannot be blended; leave it out"
        )


def as_layers(given: Sequence[str]) -> tuple[str, ...]:
    """Names of layers; one alone may come without a list around it."""
    return (given,) if isinstance(given, str) else tuple(given)
