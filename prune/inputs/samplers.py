"""What a sampler of a user's own loader decides: which items are used, in what order by training.

One that visits the same part in every pass (`SubsetRandomSampler`) confines the data to it. One
that weights, repeats or sorts items decides the order of every pass of training; a measurement
takes every item once. Sequential and random orders are those of this tool anyway.

Shapes: N items of a data set, M draws of one pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

from ..errors import InputError
from .seeded import choose_order, seeded

ENDLESS = 4
"""A sampler that draws so many times its items, or its own length, counts as one without an end."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Passes over items in the order, and as often, as a user's sampler draws them.

    Attributes:
        sampler: gives positions in the user's data set, or lists of them.
        places: which of these positions each item of a split has.
        num_drawn: M; a sampler that gives fewer of these items goes on with another pass.
        most: draws of a pass that are looked at.
    """

    sampler: Any
    places: Sequence[int]
    num_drawn: int
    most: int

    def within(self, kept: Tensor) -> "Draws":
        """The same for a part of the items, by their positions among these."""
        places = [self.places[i] for i in kept.tolist()]
        inside = set(places)
        drawn = drawn_by(self.sampler, 0, self.num_drawn)
        return replace(self, places=places, num_drawn=max(1, sum(x in inside for x in drawn)))

    def order(self, seed: int) -> list[int]:
        """The items of one pass, by their positions among these: M of them.

        Raises:
            InputError: the sampler draws none of these items.
        """
        item_at = {place: item for item, place in enumerate(self.places)}
        found: list[int] = []
        while len(found) < self.num_drawn:
            drawn = [item_at[x] for x in drawn_by(self.sampler, seed, self.most) if x in item_at]
            if not drawn:
                raise InputError(
                    f"a {type(self.sampler).__name__} given that draws none of the images that are "
                    "left without the held-out ones; expected some; give one that draws others"
                )
            found += drawn
            seed += 1
        return found[: self.num_drawn]


def visit_order(
    num_items: int,
    draws: Draws | None,
    *,
    augment: bool,
    shuffle_seed: int | None,
    limit: int | None,
) -> list[int]:
    """Which items a pass visits: of training, those that a sampler draws; see `choose_order`."""
    if draws is None or not augment:
        return choose_order(num_items, shuffle_seed, limit).tolist()
    return draws.order(shuffle_seed or 0)[:limit]


@dataclass(frozen=True, eq=False)
class Sampling:
    """What a loader's sampler decides.

    Attributes:
        places: positions of the items that it is confined to; None for all.
        draws: how training visits them; None where this tool may choose the order.
        notes: what has to be said of it.
    """

    places: list[int] | None = None
    draws: Draws | None = None
    notes: tuple[str, ...] = ()


def read_sampler(loader: DataLoader[Any], num_items: int, what: str, *, trains: bool) -> Sampling:
    """What the sampler of a loader decides, as two of its passes tell.

    Args:
        num_items: N. what: the loader's name, for messages.
        trains: whether training visits its items.

    Raises:
        InputError: the sampler gives something else than positions of items.
    """
    sampler = own_sampler(loader)
    if sampler is None:
        return Sampling()
    if type(sampler) is SubsetRandomSampler:
        return Sampling([int(place) for place in sampler.indices])
    most = ENDLESS * max(num_items, len(sampler) if hasattr(sampler, "__len__") else 0)
    passes = [drawn_by(sampler, seed, most) for seed in (0, 1)]
    _check_places(passes[0], num_items, sampler, what)
    places = _confined_to(sampler, passes, num_items)
    num_drawn = len(passes[0]) if len(passes[0]) < most else len(places)
    everything = len(places) == num_items
    draws = Draws(sampler, range(num_items) if everything else places, num_drawn, most)
    notes = (_note(draws, num_items, what, trains=trains),)
    return Sampling(None if everything else places, draws if trains else None, notes)


def own_sampler(loader: DataLoader[Any]) -> Any | None:
    """The sampler, or batch sampler, that does more than order all items; None without one."""
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        return batches
    sampler = loader.sampler if batches is None else batches.sampler
    if type(sampler) is RandomSampler:
        source: Any = sampler.data_source
        return sampler if sampler.replacement or sampler.num_samples != len(source) else None
    return None if type(sampler) in (SequentialSampler, DistributedSampler) else sampler


def batch_size_of_loader(loader: DataLoader[Any]) -> int | None:
    """Items in a batch, or in the first one that a batch sampler puts together; None without."""
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    if isinstance(size, int) or loader.batch_sampler is None:
        return size
    with seeded(0), _generators_seeded(loader.batch_sampler, 0):
        first: Any = next(iter(loader.batch_sampler), ())
    return len(first) or None


def drawn_by(sampler: Any, seed: int, most: int) -> list[int]:
    """The positions of one pass, no more than `most`; the seed gives the same ones again.

    A generator of the sampler's, and torch's own, are afterwards as they were.
    """
    with seeded(seed), _generators_seeded(sampler, seed):
        if callable(start := getattr(sampler, "set_epoch", None)):
            start(seed)
        return list(islice(_flat(sampler), most))


@contextmanager
def _generators_seeded(sampler: Any, seed: int) -> Iterator[None]:
    owners = (sampler, getattr(sampler, "sampler", None))
    found = [x for x in (getattr(owner, "generator", None) for owner in owners) if x is not None]
    generators = [x for x in found if isinstance(x, torch.Generator)]
    states = [x.get_state() for x in generators]
    try:
        for one in generators:
            one.manual_seed(seed)
        yield
    finally:
        for one, state in zip(generators, states, strict=True):
            one.set_state(state)


def _flat(sampler: Any) -> Iterator[int]:
    for drawn in sampler:
        if isinstance(drawn, Sequence) or (isinstance(drawn, Tensor) and drawn.ndim):
            yield from map(int, drawn)
        else:
            yield int(drawn)


def _check_places(drawn: list[int], num_items: int, sampler: Any, what: str) -> None:
    outside = [place for place in drawn if not 0 <= place < num_items]
    if outside or not drawn:
        given = f"position {outside[0]}" if outside else "nothing"
        raise InputError(
            f"the {type(sampler).__name__} of {what} draws {given}; expected positions from 0 to "
            f"{num_items - 1}; give a sampler of this data set"
        )


def _confined_to(sampler: Any, passes: list[list[int]], num_items: int) -> list[int]:
    """The items that a sampler ever visits: the same ones twice, those of any weight, or all."""
    first, second = map(set, passes)
    if first == second:
        return sorted(first)
    weights = getattr(sampler, "weights", None)
    if isinstance(weights, Tensor) and len(weights) == num_items:
        return [place for place, weight in enumerate(weights.tolist()) if weight > 0]
    return list(range(num_items))


def _note(draws: Draws, num_items: int, what: str, *, trains: bool) -> str:
    name, num_used = type(draws.sampler).__name__, len(draws.places)
    confined = f" of the {num_used:,} (of {num_items:,}) that it visits"
    which = confined if num_used < num_items else ""
    if not trains:
        return f"the {name} of {what} is not used: each image{which} is taken once"
    return (
        f"the {name} of {what} decides which images training sees, and how often "
        f"({draws.num_drawn:,} draws a pass); all that is measured takes each image{which} once"
    )
