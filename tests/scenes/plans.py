"""Plans for any structure, and its layers."""

import numpy as np
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.units import Structure


def random_plan(structure: Structure, share: float = 0.6, seed: int = 0) -> Plan:
    """Keep a random part of every group, at least one unit."""
    rng = np.random.default_rng(seed)
    layers = []
    for group in structure.groups:
        count = max(1, round(len(group.units) * share))
        kept = np.sort(rng.permutation(len(group.units))[:count])
        layers.append(LayerPlan(group.name, len(group.units), tuple(kept.tolist())))
    return Plan(tuple(layers))


def layers_of(structure: Structure) -> dict[str, int]:
    return {group.name: len(group.units) for group in structure.groups}
