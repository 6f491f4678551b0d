"""What a removal takes and what it leaves: computed once, and read by every later stage.

Shapes: U units.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..shown import short_repr
from .units import AxisKey, BoolArray, IntArray, Removal, Structure


@dataclass(frozen=True, eq=False)
class Cut:
    """A removal from a traced network.

    Attributes:
        structure: of the network that is cut.
        plan: which of its units go.
    """

    structure: Structure
    plan: Removal

    __repr__ = short_repr

    @cached_property
    def removed(self) -> IntArray:
        """Unit ids that go, ascending."""
        return self.plan.removed_units(self.structure)

    @cached_property
    def stays_U(self) -> BoolArray:
        """Whether each unit stays, (U + 1,); the last one stands for unit -1, which stays."""
        stays_U = np.ones(self.structure.num_units + 1, dtype=np.bool_)
        stays_U[self.removed] = False
        return stays_U

    @cached_property
    def kept(self) -> dict[AxisKey, IntArray]:
        """Positions that stay, ascending, for every tensor axis that shrinks."""
        kept: dict[AxisKey, IntArray] = {}
        for key, units in self.structure.axes.items():
            stays = self.stays_U[units]
            if not stays.all():
                kept[key] = np.flatnonzero(stays).astype(np.int64)
        return kept
