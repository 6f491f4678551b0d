"""The user's own measure of a network, `package.module:callable`, in evaluation mode."""

import inspect
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from ..errors import UsageError
from ..inputs.callables import Trusted, import_callable, is_callable_name
from ..job.by_outputs import Metric

BATCHES = "batches"
"""Name of the argument that gets the test loader."""


def open_metric(name: str, test: DataLoader[Any] | None) -> Metric:
    """The callable of that name, which the user typed.

    Args:
        test: the user's own loader of the test part, with targets, where there is one.

    Raises:
        UsageError: it is no name of a callable, or it takes other arguments.
        InputError: it cannot be imported.
    """
    if not is_callable_name(name):
        raise UsageError(
            f"`metric={name}` given; expected package.module:callable, a function of one network "
            "that gives a number, higher for better networks"
        )
    function = import_callable(Trusted(name))
    signature = inspect.signature(function)
    named: dict[str, Any] = {}
    if BATCHES in signature.parameters:
        if test is None:
            raise UsageError(
                f"`metric={name}` given, which asks for {BATCHES}; expected `data` of "
                "package.module:callable that gives loaders with targets; give such data, or a "
                "function of the network alone"
            )
        named[BATCHES] = test
    try:
        signature.bind(nn.Identity(), **named)
    except TypeError as error:
        raise UsageError(
            f"`metric={name}` given, which cannot be called with a network ({error}); expected a "
            f"function of one network, and of {BATCHES} where it wants the test loader"
        ) from error
    return lambda network: function(network, **named)
