"""Rank the units of every group, and say what each removal costs.

| criterion  | what goes first                                            | needs                |
|------------|------------------------------------------------------------|----------------------|
| mechanism  | what response and label fields of the next layers miss least | statistics, spectrum |
| response   | what the next layers' response misses least                | statistics           |
| label-loss | what a linear label probe misses least                     | statistics           |
| snr        | the lowest signal-to-noise ratio of a filter's label field | spectrum             |
| sharpness  | the least sharp label field                                | spectrum             |
| taylor     | the smallest first-order change of the loss                | batches              |
| random     | a seeded permutation                                       |                      |

In the first three the filters that stay readjust after every removal (see `response`). The default,
mechanism, removes one by one the unit whose loss raises

    sum over readers r of E_r / V_r  +  0.3 E_fields / V_fields

least: E is the least squared error of targets predicted from the channels that are left, V their
variance. The targets of a reader are its responses; those of the fields are, for every label j,
sum over units u of s_u W_u[j] x_u, the evidence for j that a linear probe W finds in the channels
x_u of unit u, with s_u = SNR_u / (1 + SNR_u): clean fields count, noisy ones hardly do.
l1, l2, fpgm, lamp and bn-scale look at the weights alone (see `classic`).
package.module:callable is the user's own (see `custom`).

A criterion decides the order; the error curves that allocation reads are always the least squared
error of each next layer's response after removing in that order, so all arms share allocation and
repair. Without statistics the channels count as uncorrelated and of equal power.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np
from torch import nn

from ..errors import InputError, UsageError
from ..inputs.callables import is_callable_name
from ..mechanism.spectrum import GroupSpectrum
from ..shown import short_repr
from ..structure.units import FloatArray, Group, IntArray, Structure
from . import classic
from .custom import import_scorer
from .evidence import Evidence
from .fields import field_problem, probe_problem
from .readers import Problem, covariance, problems, weight_of
from .response import eliminate, error_curve

WEIGHT_CRITERIA: Mapping[str, Callable[[nn.Module, Structure, Group], FloatArray]] = {
    "l1": classic.l1,
    "l2": classic.l2,
    "fpgm": classic.fpgm,
    "lamp": classic.lamp,
    "bn-scale": classic.bn_scale,
}
CRITERIA = (
    *("mechanism", "response", "label-loss", "snr", "sharpness"),
    *("taylor", *WEIGHT_CRITERIA, "random"),
)
"""Every name that `rank_units` takes."""
_WITHOUT_DATA = (*WEIGHT_CRITERIA, "random")

FIELD_SHARE = 0.3
"""Energy of the label fields among the targets of "mechanism"; a reader's response has 1.

Response decides most, labels decide between filters that it finds alike. On VGG-16 at 40 % of the
multiply-adds 0.3 leads with 86.93 % before any step, where the response alone (0) has 86.76 and
labels alone 86.81 (`docs/contest.md`). Other shares were not compared there.
"""

Needed = TypeVar("Needed")
Scorer = Callable[[Group, int], FloatArray]
"""A user's criterion: (group, its index) -> (U,) scores, higher is better."""


@dataclass(frozen=True)
class Ranking:
    """In which order the units of each group go, and what that costs.

    | attribute | shape per group | meaning                                                    |
    |-----------|-----------------|------------------------------------------------------------|
    | order     | (U,) int64      | positions in `Group.units`, first to go first              |
    | error     | reader -> (U + 1,) float64 | relative squared error after the first m went   |
    | scores    | (U,) float64    | of each unit by the criterion, higher is better            |

    A reader whose input never varies has no error, nor any where curves were not asked for.
    `raised` tells of every reader how many times its damping had to be raised, 1 for not at all
    (`linear_algebra`).
    """

    criterion: str
    order: tuple[IntArray, ...]
    error: tuple[Mapping[str, FloatArray], ...]
    scores: tuple[FloatArray, ...]
    raised: Mapping[str, float] = field(default_factory=dict)

    __repr__ = short_repr


def rank_units(criterion: str | Scorer, evidence: Evidence, *, curves: bool = True) -> Ranking:
    """Order the units of every group by a criterion; ties go by position.

    Args:
        criterion: one of CRITERIA, package.module:callable, or a callable from (group, index) to
            scores (U,).
        evidence: holds what the criterion needs (table above).
        curves: also compute the error curves, which only an allocation other than uniform reads,
            and which take most of the time.

    Raises:
        UsageError: an unknown criterion, or one whose needs were not given.
        InputError: a criterion that cannot rank this network, or scores of the wrong shape.
    """
    scorer = criterion if callable(criterion) else _scorer(criterion, evidence)
    parts = []
    raised: dict[str, float] = {}
    for index, group in enumerate(evidence.structure.groups):
        reads = curves or isinstance(scorer, _Eliminator)
        response = _response_problems(evidence, group) if reads else {}
        parts.append(_rank_group(group, index, scorer, response))
        raised |= {name: max(one.raised for one in own) for name, own in response.items()}
    name = criterion if isinstance(criterion, str) else getattr(criterion, "__name__", "callable")
    order, error, scores = zip(*parts, strict=True) if parts else ((), (), ())
    return Ranking(name, order, error, scores, raised)


def _rank_group(
    group: Group, index: int, scorer: "Scorer | _Eliminator", response: Mapping[str, list[Problem]]
) -> tuple[IntArray, dict[str, FloatArray], FloatArray]:
    num_units = len(group.units)
    if isinstance(scorer, _Eliminator):
        together = list(chain.from_iterable(response.values()))
        order, cost = eliminate(scorer.problems(group, index, together), num_units)
        scores = np.empty(num_units)
        scores[order] = cost[1:]
    else:
        scores = np.asarray(scorer(group, index), dtype=np.float64)
        if scores.shape != (num_units,) or not np.isfinite(scores).all():
            raise InputError(
                f"scores of shape {scores.shape} given for {group.name}; expected {num_units} "
                "finite numbers, one per unit; mend the criterion"
            )
        order = np.argsort(scores, kind="stable").astype(np.int64)
    error = {name: error_curve(own, order) for name, own in response.items()}
    return order, error, scores


def _response_problems(evidence: Evidence, group: Group) -> dict[str, list[Problem]]:
    """The least-squares problems of every reader of a group (without data: white channels)."""
    position_of = {int(unit): position for position, unit in enumerate(group.units)}
    found: dict[str, list[Problem]] = {}
    for name in group.readers:
        reader = evidence.structure.readers[name]
        moments = evidence.statistics.moments.get(name) if evidence.statistics else None
        cov = None if moments is None else covariance(moments)
        own = problems(reader, weight_of(evidence.model, reader), cov, position_of)
        if own:
            found[name] = own
    return found


@dataclass(frozen=True)
class _Eliminator:
    """A criterion that removes one by one: which problems it solves for a group."""

    problems: Callable[[Group, int, list[Problem]], list[Problem]]


def _scorer(criterion: str, evidence: Evidence) -> "Scorer | _Eliminator":
    model, structure = evidence.model, evidence.structure
    if criterion in WEIGHT_CRITERIA:
        return lambda group, index: WEIGHT_CRITERIA[criterion](model, structure, group)
    if criterion == "random":
        seed = evidence.seed
        return lambda group, index: np.random.default_rng((seed, index)).random(len(group.units))
    if criterion == "taylor":
        batches = _needed(evidence.batches, criterion, "batches of images and labels")
        by_group = classic.taylor(model, structure, batches)
        return lambda group, index: by_group(group)
    if is_callable_name(criterion):
        return import_scorer(criterion, evidence)
    if criterion in ("snr", "sharpness"):
        groups = _needed(evidence.spectrum, criterion, "a spectrum measured on data").groups
        return lambda group, index: _field_score(criterion, group, groups[index])
    if criterion in ("response", "label-loss", "mechanism"):
        return _eliminator(criterion, evidence)
    raise UsageError(
        f"`criterion={criterion}` given; expected one of {', '.join(CRITERIA)}, or "
        "package.module:callable"
    )


def _eliminator(criterion: str, evidence: Evidence) -> _Eliminator:
    structure = evidence.structure
    known = _needed(evidence.statistics, criterion, "statistics measured on data")
    if criterion == "response":
        return _Eliminator(lambda group, index, response: response)
    if criterion == "label-loss":
        return _Eliminator(
            lambda group, index, response: (
                _present(probe_problem(structure, group, known)) or response
            )
        )
    groups = _needed(evidence.spectrum, criterion, "a spectrum measured on data").groups

    def joined(group: Group, index: int, response: list[Problem]) -> list[Problem]:
        fields = groups[index]
        if fields is None:
            return response
        return [*response, *_present(field_problem(structure, group, known, fields, FIELD_SHARE))]

    return _Eliminator(joined)


def _needed(given: Needed | None, criterion: str, what: str) -> Needed:
    if given is None:
        raise UsageError(
            f"`criterion={criterion}` given without {what}, which it ranks by; give them, or one "
            f"of {', '.join(_WITHOUT_DATA)}, which need no data"
        )
    return given


def _present(problem: Problem | None) -> list[Problem]:
    return [] if problem is None else [problem]


def _field_score(criterion: str, group: Group, fields: GroupSpectrum | None) -> FloatArray:
    if fields is None:  # no module reads them: nothing to tell them apart by
        return np.zeros(len(group.units))
    return fields.snr_F if criterion == "snr" else fields.sharpness_F
