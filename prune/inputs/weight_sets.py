"""The sets of weights in one file, and which of them is the network: raw or averaged.

Trainings with an exponential moving average (EMA), with stochastic weight averaging (SWA) or with a
teacher keep two sets of weights side by side. The makers of these methods evaluate the averaged
ones, and so does this tool, which says so; a teacher may be either, so it asks.

    timm        state_dict          state_dict_ema
    torchvision model               model_ema: n_averaged, module.NAME
    ultralytics model               ema
    Lightning   current_model_state state_dict   (its WeightAveraging callback)
    torch       -                   n_averaged, module.NAME  (swa_utils.AveragedModel)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InputError, UsageError
from .naming import words_of

WeightKind = Literal["ema", "raw"]
MAX_DEPTH = 8
"""Of dictionaries within dictionaries; a file could hold them without end."""
MAX_SETS = 8
"""Of which the largest are looked at; optimizers keep many small ones."""
AVERAGED = frozenset(("ema", "swa", "averaged", "average", "averaging", "avg", "shadow", "polyak"))
"""Words of averaged weights."""
TEACHER = frozenset(("teacher", "target"))
"""Words of weights that are an average of the others (mean teacher, BYOL) or another network's
(distillation): a file does not say which."""
TENSORS_SHARE = 0.5
"""A dictionary is a set of weights if more than this share of it is tensors or dictionaries."""


@dataclass(frozen=True, eq=False)
class WeightSet:
    """One dictionary of tensors in a file.

    Attributes:
        place: keys that lead to it; empty for the file itself.
        tensors: names as in the file.
        raw_beside: whether another set of the file is by its name the one before averaging.
    """

    place: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    raw_beside: bool = False


@dataclass(frozen=True, eq=False)
class Fit:
    """A set of weights that is whole for an architecture.

    Attributes:
        source: the set. prefix: of its names in it, None for several.
        state: the tensors under the architecture's names.
        left_out: names that belong to no layer.
    """

    source: WeightSet
    prefix: str | None
    state: Mapping[str, Tensor]
    left_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """As messages call it.

        >>> Fit(WeightSet(("model_ema",), {}), "module.", {}, ()).name
        'model_ema/module'
        """
        parts = (*self.source.place, (self.prefix or "").rstrip("."))
        return "/".join(filter(None, parts)) or "the file itself"

    @property
    def kind(self) -> Literal["ema", "raw", "teacher"]:
        """What its place says."""
        words = {
            word for part in (*self.source.place, self.prefix or "") for word in words_of(part)
        }
        counter = any(name.rpartition(".")[2] == "n_averaged" for name in self.left_out)
        if words & AVERAGED or (counter and "module" in words) or self.source.raw_beside:
            return "ema"
        return "teacher" if words & TEACHER else "raw"


def find_sets(loaded: Any) -> tuple[WeightSet, ...]:
    """Every dictionary of tensors in what a file holds, the largest first, equal ones in order."""
    found = sorted(_sets_in(loaded, ()), key=lambda one: -len(one.tensors))[:MAX_SETS]
    if any(one.place[-1:] == ("current_model_state",) for one in found):
        return tuple(
            WeightSet(one.place, one.tensors, one.place[-1:] == ("state_dict",)) for one in found
        )
    return tuple(found)


def _sets_in(loaded: Any, place: tuple[str, ...]) -> Iterator[WeightSet]:
    if not isinstance(loaded, Mapping) or len(place) > MAX_DEPTH or "param_groups" in loaded:
        return
    tensors = {str(k): v.detach() for k, v in loaded.items() if isinstance(v, Tensor)}
    nested = {str(k): v for k, v in loaded.items() if isinstance(v, Mapping)}
    if tensors and len(tensors) + len(nested) > TENSORS_SHARE * len(loaded):
        yield WeightSet(place, tensors)
    for key, inner in nested.items():
        yield from _sets_in(inner, (*place, key))


def choose(
    fits: Sequence[Fit], source: str, weights: WeightKind | None
) -> tuple[Fit, tuple[str, ...]]:
    """The set that is the network, and what has to be said of the choice.

    Args:
        fits: one or more, all of one architecture.
        source: the file, for messages.
        weights: the user's choice.

    Raises:
        UsageError: `weights` names what is not there, or has to be given.
        InputError: several sets are of one kind.
    """
    listed = ", ".join(fit.name for fit in fits)
    of_kind = {
        kind: [fit for fit in fits if fit.kind == kind] for kind in ("ema", "raw", "teacher")
    }
    averaged = of_kind["ema"] or of_kind["teacher"]
    if weights is None and of_kind["teacher"] and not of_kind["ema"] and of_kind["raw"]:
        raise UsageError(
            f"{source} holds several sets of weights that fit ({listed}), and does not say whether "
            "the teacher is an average of the other or another network; "
            "choose with `weights=ema` (the teacher) or `weights=raw`"
        )
    wanted = averaged if weights == "ema" else of_kind["raw"] if weights == "raw" else []
    if weights is not None and not wanted:
        words = {"ema": "averaged weights", "raw": "weights that are not averaged"}[weights]
        raise UsageError(
            f"`weights={weights}` given; expected {words} in {source}, which holds {listed}; "
            "leave it out"
        )
    chosen = _only(wanted or averaged or of_kind["raw"], source)
    return chosen, tuple(_notes(chosen, fits, source, listed))


def choose_network(
    networks: Mapping[str, nn.Module], source: str, weights: WeightKind | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """Of the whole networks in a trusted pickle the averaged one, or as `weights` says.

    Raises:
        UsageError, InputError: as `choose`.
    """
    fits = [
        Fit(WeightSet((key,) if key else (), {}), "", network.state_dict(), ())
        for key, network in networks.items()
    ]
    chosen, notes = choose(fits, source, weights)
    return list(networks.values())[fits.index(chosen)], notes


def _only(fits: Sequence[Fit], source: str) -> Fit:
    """The first of sets that are all equal."""
    first = fits[0]
    for other in fits[1:]:
        if not _are_equal(first.state, other.state):
            names = ", ".join(fit.name for fit in fits)
            raise InputError(
                f"{source} holds several sets of weights that fit ({names}); expected one; "
                "save the state dict that you mean alone"
            )
    return first


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype and one[n].equal(other[n]) for n in one
    )


def _notes(chosen: Fit, fits: Sequence[Fit], source: str, listed: str) -> Iterator[str]:
    if len({fit.kind for fit in fits}) > 1:
        why = {
            "ema": "averaged weights, which their makers evaluate (`weights=raw` takes the others)",
            "teacher": "as asked",
            "raw": "weights that are not averaged, as asked",
        }[chosen.kind]
        yield (
            f"{source} holds {len(fits)} sets of weights that fit ({listed}): "
            f"taken is {chosen.name}, {why}"
        )
    if chosen.left_out:
        count, first = len(chosen.left_out), ", ".join(chosen.left_out[:3])
        more = ", ..." if count > 3 else ""
        yield (
            f"left out of {source}: {count} tensor{'s' if count > 1 else ''} that "
            f"belong{'s' if count == 1 else ''} to no layer of the network ({first}{more})"
        )


def unused_averages(sets: Sequence[WeightSet], fits: Sequence[Fit], source: str) -> tuple[str, ...]:
    """That averaged weights are there which do not fit, as those without the norms' buffers."""
    used = {fit.source.place for fit in fits}
    names = [
        "/".join(one.place)
        for one in sets
        if one.place not in used and AVERAGED & {w for key in one.place for w in words_of(key)}
    ]
    if not names:
        return ()
    return (f"{source} also holds averaged weights that do not fit and were not used: {names[0]}",)
