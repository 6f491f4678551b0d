"""What was removed so far in the course of a training: a value that a checkpoint holds.

Shapes: none; positions are those of the network that the training began with.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ..inputs.pruned_file import compose
from ..job.known import Amounts
from ..structure.cut import Cut
from ..structure.surgery import keep_positions
from ..structure.units import AxisKey, IntArray


@dataclass(frozen=True)
class PrunedAt:
    """One removal.

    Attributes:
        epoch: at whose start it was done, from 0 on.
        before, after: filters that can be removed, multiply-adds of one image, parameters.
    """

    epoch: int
    before: Amounts
    after: Amounts

    @property
    def words(self) -> str:
        """What was removed, in a line.

        >>> PrunedAt(2, Amounts(64, 5000, 900), Amounts(32, 2500, 450)).words
        'pruned at epoch 2: filters 64 -> 32, multiply-adds 5,000 -> 2,500, parameters 900 -> 450'
        """
        before, after = asdict(self.before).values(), asdict(self.after).values()
        names = ("filters", "multiply-adds", "parameters")
        parts = [f"{x} {a:,} -> {b:,}" for x, a, b in zip(names, before, after, strict=True)]
        return f"pruned at epoch {self.epoch}: {', '.join(parts)}"


@dataclass(frozen=True, eq=False)
class Removals:
    """All removals of a training so far.

    Attributes:
        history: one by one.
        kept: positions that stay, for every axis that has shrunk.
        added: shapes of the parameters that repair gave to layers: biases.
    """

    history: tuple[PrunedAt, ...] = ()
    kept: Mapping[AxisKey, IntArray] = field(default_factory=dict)
    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def left(self, kind: str) -> float:
        """Share of what the network had of a counted kind."""
        shares = (getattr(x.after, kind) / getattr(x.before, kind) for x in self.history)
        return float(np.prod(list(shares)))

    def then(self, done: PrunedAt, network: nn.Module, smaller: nn.Module, cut: Cut) -> "Removals":
        """With one more, which made a smaller network of another."""
        known = dict(network.named_parameters())
        new = {name: x for name, x in smaller.named_parameters() if name not in known}
        added = {name: tuple(smaller.get_parameter(name).shape) for name in (*self.added, *new)}
        return Removals((*self.history, done), compose(self.kept, cut.kept), added)

    def is_like(self, other: "Removals") -> bool:
        """Whether the same filters are gone."""
        return self.kept.keys() == other.kept.keys() and all(
            np.array_equal(positions, other.kept[key]) for key, positions in self.kept.items()
        )

    def apply(self, network: nn.Module) -> None:
        """Cut a fresh network, in place, to the sizes that the training had reached.

        Raises:
            InputError: it is another network.
        """
        keep_positions(network, self.kept)
        for name, shape in self.added.items():
            owner, _, attribute = name.rpartition(".")
            place = network.get_submodule(owner)
            place.register_parameter(attribute, nn.Parameter(torch.zeros(shape)))

    def to_plain(self) -> dict[str, Any]:
        """In lists, dictionaries and numbers, as `torch.load(weights_only=True)` takes them."""
        return {
            "kept": [[name, axis, kept.tolist()] for (name, axis), kept in self.kept.items()],
            "added": {name: list(shape) for name, shape in self.added.items()},
            "history": [asdict(one) for one in self.history],
        }

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> "Removals":
        """What `to_plain` gave."""
        return Removals(
            tuple(
                PrunedAt(x["epoch"], Amounts(**x["before"]), Amounts(**x["after"]))
                for x in values["history"]
            ),
            {(name, axis): np.array(kept, np.int64) for name, axis, kept in values["kept"]},
            {name: tuple(shape) for name, shape in values["added"].items()},
        )
