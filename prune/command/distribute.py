"""The same function over many items, as Ray tasks: on this machine, or on a cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..errors import UsageError

Common = TypeVar("Common")
Item = TypeVar("Item")
Result = TypeVar("Result")


def ray_map(
    function: Callable[[Common, Item], Result],
    common: Common,
    items: Sequence[Item],
    *,
    gpu: bool = False,
) -> Iterator[tuple[int, Result | Exception]]:
    """Position and result of every item, in the order in which they are done.

    An item whose task raised, or whose process died, gives the exception instead: the others go on.

    Where RAY_ADDRESS names a cluster the tasks run there; else a local Ray is started, and stopped
    at the end. Every task has one CPU, and one GPU if `gpu`.

    Args:
        function: importable on every machine; called as `function(common, item)`.
        common: sent once to every machine.

    Raises:
        UsageError: Ray is not installed.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        local = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
        ray.init(log_to_driver=False, configure_logging=False, **local)
    try:
        task = ray.remote(num_cpus=1, num_gpus=int(gpu))(function)
        shared = ray.put(common)
        waiting = {task.remote(shared, item): at for at, item in enumerate(items)}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), _result_of(ray, done)
    finally:
        if started:
            ray.shutdown()


def _result_of(ray: Any, done: Any) -> Any:
    try:
        return ray.get(done)
    except Exception as error:  # of the task itself, or Ray's own when its process died
        return error


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError(
            '`distributed=ray` given without Ray; install it with pip install "prune-dl[ray]"'
        ) from None
    return ray
