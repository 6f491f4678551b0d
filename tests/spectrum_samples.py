"""A small measured spectrum of made-up fields, for the tests of the per-filter page."""

from types import SimpleNamespace

import numpy as np
from prune_dl.prune.mechanism.clusters import find_clusters, threshold
from prune_dl.prune.mechanism.snr import layer_snr, sharpness, signal, unit_snr


def sample_spectrum(widths=(4, 6), num_labels=10, seed=0):
    """Groups of the given widths, and one that nothing reads in front of them."""
    rng = np.random.default_rng(seed)
    groups = [sample_group(f"conv{i}", width, num_labels, rng) for i, width in enumerate(widths)]
    depth = [
        SimpleNamespace(writer=g.name, reader=f"after {g.name}", success_rate=g.success_rate)
        for g in groups
    ]
    return SimpleNamespace(groups=(None, *groups), depth=depth, num_labels=num_labels)


def sample_group(name, width, num_labels, rng):
    fields_FKK = rng.normal(0, 0.2, (width, num_labels, num_labels)).astype(np.float32)
    for field_KK in fields_FKK:
        cluster = rng.choice(num_labels, 2, replace=False)
        field_KK[np.ix_(cluster, cluster)] += 1
    ones_FKK = threshold(fields_FKK)
    return SimpleNamespace(
        name=name,
        success_rate=0.7,
        snr=layer_snr(ones_FKK),
        field=lambda unit: fields_FKK[unit],
        labels=find_clusters(ones_FKK),
        snr_F=unit_snr(ones_FKK),
        sharpness_F=sharpness(ones_FKK),
        signal_F=signal(fields_FKK),
    )


def sample_columns(spectrum, seed=1):
    """Norms (or scores) of every group, also of the one that nothing reads."""
    rng = np.random.default_rng(seed)
    return [rng.random(3 if group is None else len(group.snr_F)) for group in spectrum.groups]
