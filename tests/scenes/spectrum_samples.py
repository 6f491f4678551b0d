"""A small measured spectrum of made-up fields, for the tests of the per-filter page."""

from types import SimpleNamespace

import numpy as np


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
    """Fields with one strong cluster of two labels each; figures drawn at random."""
    fields_FKK = rng.normal(0, 0.2, (width, num_labels, num_labels)).astype(np.float32)
    clusters = [sorted(rng.choice(num_labels, 2, replace=False).tolist()) for _ in range(width)]
    for field_KK, cluster in zip(fields_FKK, clusters, strict=True):
        field_KK[np.ix_(cluster, cluster)] += 1
    return SimpleNamespace(
        name=name,
        success_rate=0.7,
        snr=1.5,
        field=lambda unit: fields_FKK[unit],
        labels=SimpleNamespace(of=lambda unit: (tuple(clusters[unit]),)),
        snr_F=rng.random(width),
        sharpness_F=rng.random(width),
        signal_F=rng.random(width),
    )


def sample_columns(spectrum, seed=1):
    """Norms (or scores) of every group, also of the one that nothing reads."""
    rng = np.random.default_rng(seed)
    return [rng.random(3 if group is None else len(group.snr_F)) for group in spectrum.groups]
