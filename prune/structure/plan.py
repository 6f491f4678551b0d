"""The plan: which filters of which layer stay. Pure data, and it survives its file bit for bit."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

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


@dataclass(frozen=True)
class Plan:
    """Which filters stay, for every group of a structure, in its order."""

    layers: tuple[LayerPlan, ...]

    def removed_units(self, structure: Structure) -> IntArray:
        """Unit ids that go, ascending, shape (number removed,)."""
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
        """Read back what `to_json` wrote."""
        layers = json.loads(text)["layers"]
        return Plan(tuple(LayerPlan(x["name"], x["num_filters"], tuple(x["kept"])) for x in layers))

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the plan, to recognise it elsewhere."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def keep_everything(structure: Structure) -> Plan:
    """The plan that changes nothing."""
    return Plan(
        tuple(
            LayerPlan(group.name, len(group.units), tuple(range(len(group.units))))
            for group in structure.groups
        )
    )
