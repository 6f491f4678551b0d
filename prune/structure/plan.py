"""The plan: which filters of which layer stay. Pure data, and it survives its file bit for bit."""

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from ..errors import InputError
from ..shown import html_table, short_repr
from ..typed import from_json
from .units import IntArray, Structure


@dataclass(frozen=True)
class LayerPlan:
    """One group's line of a plan.

    Attributes:
        name: the group's name (its first writer).
        num_filters: how many removable units it has before pruning.
        kept: positions (into `Group.units`) that stay, ascending, never empty.
    """

    name: str
    num_filters: int
    kept: tuple[int, ...]

    __repr__ = short_repr


@dataclass(frozen=True)
class Plan:
    """Which filters stay, for every group of a structure, in its order."""

    layers: tuple[LayerPlan, ...]

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        rows = [(layer.name, layer.num_filters, len(layer.kept)) for layer in self.layers]
        return html_table("Filters", ("layer", "before", "kept"), rows)

    def removed_units(self, structure: Structure) -> IntArray:
        """Unit ids that go, ascending, shape (number removed,).

        Raises:
            InputError: the plan is of a network with other layers.
        """
        found = {layer.name: layer.num_filters for layer in self.layers}
        expected = {group.name: len(group.units) for group in structure.groups}
        if list(found.items()) != list(expected.items()) or len(found) != len(self.layers):
            name = min(found.items() ^ expected.items(), default=("another order", 0))[0]
            raise InputError(
                f"a plan given for other layers than this network's ({name[:100]}: "
                f"{found.get(name, 'no')} filters in the plan, {expected.get(name, 'none')} here); "
                "give the network that it was made for"
            )
        removed = [
            np.delete(group.units, np.asarray(layer.kept, dtype=np.int64))
            for group, layer in zip(structure.groups, self.layers, strict=True)
        ]
        return np.sort(np.concatenate([*removed, np.empty(0, dtype=np.int64)]))

    def to_json(self) -> str:
        """The plan as one JSON document."""
        return json.dumps({"version": 1, **asdict(self)})

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Read back what `to_json` wrote.

        Raises:
            InputError: it is no plan of this version, or keeps what cannot be kept.
        """
        document = from_json(text, _Document, "a plan")
        for layer in document.layers:
            ascends = all(a < b for a, b in pairwise((-1, *layer.kept, layer.num_filters)))
            if not ascends or not layer.kept:
                raise InputError(
                    f"a plan that keeps {str(layer.kept)[:100]} of {layer.num_filters} filters of "
                    f"{layer.name[:100]} given; expected positions, ascending and from 0 on; "
                    "plan again"
                )
        return Plan(document.layers)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the plan, to recognise it elsewhere."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Document:
    """What a plan's file holds."""

    version: Literal[1]
    layers: tuple[LayerPlan, ...]


def keep_everything(structure: Structure) -> Plan:
    """The plan that changes nothing."""
    return Plan(
        tuple(
            LayerPlan(group.name, len(group.units), tuple(range(len(group.units))))
            for group in structure.groups
        )
    )
