"""`track`: who gets the figures of a run beside metrics.jsonl."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, UsageError
from ..inputs.callables import Trusted, import_callable, is_callable_name
from ..tracking.mlflow import MlflowTracker
from ..tracking.tensorboard import TensorBoardTracker
from ..tracking.tracker import Tracker, finishing


@contextmanager
def tracking(name: str | None, out: Path) -> Iterator[Tracker | None]:
    """The tracker of a run, told at the end whether the run failed; None without a name.

    Args:
        name: as the user typed it.
        out: the result, after whose name the run is called.

    Raises:
        UsageError: no such tracker, or it is not installed.
        InputError: the user's own cannot be imported, or is none.
    """
    tracker = None if name is None else open_tracker(name, out)
    with finishing(tracker):
        yield tracker


def open_tracker(name: str, out: Path) -> Tracker:
    """The tracker of that name; raises as `tracking`."""
    if name == "tensorboard":
        return TensorBoardTracker(out.parent / "tensorboard" / out.name)
    if name == "mlflow":
        return MlflowTracker(out.name)
    if not is_callable_name(name):
        raise UsageError(
            f"`track={name}` given; expected tensorboard, mlflow or package.module:callable, "
            "called with the name of the run; give one of them"
        )
    made = import_callable(Trusted(name))(out.name)
    if not all(callable(getattr(made, method, None)) for method in ("metric", "finish")):
        raise InputError(
            f"`track={name}` given, which returns a {type(made).__name__}; expected an object with "
            "metric(name, value, step) and finish(failed)"
        )
    tracker: Tracker = made
    return tracker
