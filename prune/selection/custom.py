"""A criterion of the user's own: `rank=package.module:callable`.

The callable is asked once for every group and names what it wants to see among

| parameter  | what it gets                                                                  |
|------------|-------------------------------------------------------------------------------|
| group      | the `Group`: name, writers, readers, unit ids                                 |
| filters    | (U, weights) float64: the weights of each unit in its first writer, as rows   |
| fields     | the group's `GroupSpectrum` (label fields, snr_F, ...), or None without data  |
| model      | the network, not to be changed                                                |
| structure  | what was traced                                                               |
| statistics | sums over the inputs of every layer, or None without data                     |

and gives back U numbers, one per unit in the order of `group.units`: the higher, the later it goes.

    def smallest_weight(filters):
        return filters.abs().amin(dim=1)
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError, PruneError, UsageError
from ..inputs.callables import Trusted, call_with, import_callable, is_callable_name
from ..structure.units import FloatArray, Group
from .classic import filters
from .evidence import Evidence


def import_scorer(spec: str, evidence: Evidence) -> Callable[[Group, int], FloatArray]:
    """The user's callable as a function of (group, its index).

    Raises:
        InputError: it cannot be imported; or, when called, it fails or gives no numbers.
        UsageError: when called, it has a parameter that is not in the table above.
    """
    function = import_callable(Trusted(spec))

    def score(group: Group, index: int) -> FloatArray:
        offered: dict[str, Any] = {
            "group": group,
            "filters": next(iter(filters(evidence.model, evidence.structure, group)))[1],
            "fields": evidence.spectrum.groups[index] if evidence.spectrum else None,
            "model": evidence.model,
            "structure": evidence.structure,
            "statistics": evidence.statistics,
        }
        try:
            return np.asarray(call_with(function, offered, f"`rank={spec}`"), dtype=np.float64)
        except PruneError:
            raise
        except Exception as error:  # whatever a user's code raises
            raise InputError(
                f"`rank={spec}` failed on {group.name} ({type(error).__name__}: {error}); "
                "expected one number per unit; mend the callable"
            ) from error

    return score


def name_of(function: Callable[..., Any]) -> str:
    """How the option `rank` names a function: package.module:callable.

    Raises:
        UsageError: it cannot be imported by that name, as a lambda, a method, or one inside a
            function.
    """
    module = getattr(function, "__module__", None) or "?"
    spec = f"{module}:{getattr(function, '__qualname__', type(function).__name__)}"
    if not is_callable_name(spec) or import_callable(Trusted(spec)) is not function:
        raise UsageError(
            f"`rank={spec}` given; expected a function from the top level of a module, which has a "
            "name for the report; move it there"
        )
    return spec
