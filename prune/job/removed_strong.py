"""Why filters with a high SNR could go: what the kept ones say of the same.

Responses are those at the input of the group's last reader, the one that SNR and clusters are of.

Shapes: C input channels of a reader, G convolution groups.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ...evaluate.report.removed_filters import AlikeFilter, RemovedFilter
from ..linear_algebra import ROWS_PER_INPUT, solve_damped
from ..mechanism.clusters import Clusters
from ..mechanism.spectrum import GroupSpectrum
from ..selection.readers import covariance, damping
from ..structure.plan import LayerPlan
from ..structure.units import BoolArray, FloatArray, Group, IntArray
from .known import Planned

MOST_REMOVED = 5
"""Removed filters that are explained: a reader of the page wants the surprising ones."""
MOST_SHARING = 3
"""Kept filters with labels in common that are named; the others are counted."""

_Layer = tuple[Group, GroupSpectrum, LayerPlan]


def explain_removed(planned: Planned, labels: Sequence[str]) -> tuple[RemovedFilter, ...]:
    """The removed filters with the highest SNR, and what the kept ones say of the same.

    Empty where there are no labels or no statistics. Layers whose moments have fewer than
    `ROWS_PER_INPUT` rows for each kept channel are left out, as anything can be predicted there;
    so are filters that select no label, and those whose response never varies. Ties, which clean
    filters of as many labels have, go to the stronger signal, the earlier layer, the lower index.

    Args:
        labels: names, as the page shows them.
    """
    layers = list(_explained_layers(planned))
    candidates = sorted(
        (-float(spectrum.snr_F[index]), -float(spectrum.signal_F[index]), at, index)
        for at, (_, spectrum, layer) in enumerate(layers)
        for index in sorted(set(range(layer.num_filters)) - set(layer.kept))
        if spectrum.snr_F[index] > 0
    )
    found = (_explain(planned, layers[at], i, labels) for *_, at, i in candidates[:MOST_REMOVED])
    return tuple(line for line in found if line is not None)


def _explained_layers(planned: Planned) -> Iterable[_Layer]:
    """Layers that were measured on enough rows."""
    spectrum, structure = planned.measured.spectrum, planned.measured.structure
    if spectrum is None:
        return
    num_positions = planned.measured.statistics.num_positions
    for group, measured, layer in zip(
        structure.groups, spectrum.groups, planned.plan.layers, strict=True
    ):
        if measured is None or measured.reader not in num_positions:
            continue
        reader = structure.readers[measured.reader]
        stays_C = planned.cut.stays_U[reader.unit_C]
        most_kept = int(stays_C.reshape(reader.groups, -1).sum(1).max())
        if num_positions[measured.reader] >= ROWS_PER_INPUT * most_kept:
            yield group, measured, layer


def _explain(
    planned: Planned, at: _Layer, index: int, labels: Sequence[str]
) -> RemovedFilter | None:
    """One removed filter; None where its response never varies."""
    group, spectrum, layer = at
    reader = planned.measured.structure.readers[spectrum.reader]
    own_C = reader.unit_C == group.units[index]
    covariance_CC = covariance(planned.measured.statistics.moments[spectrum.reader])
    share = share_reproduced(
        covariance_CC, own_C, planned.cut.stays_U[reader.unit_C], reader.groups
    )
    if share is None:
        return None
    channels = [np.flatnonzero(reader.unit_C == group.units[kept]) for kept in layer.kept]
    correlations = correlate(covariance_CC, np.flatnonzero(own_C), channels)
    mine = _selected(spectrum.labels, index)
    alike = [
        _alike(kept, value, mine, _selected(spectrum.labels, kept), labels)
        for kept, value in zip(layer.kept, correlations, strict=True)
        if value is not None
    ]
    sharing = sorted(
        (x for x in alike if x.shared), key=lambda x: (-len(x.shared), -abs(x.correlation))
    )
    return RemovedFilter(
        layer=layer.name,
        filter=index,
        snr=float(spectrum.snr_F[index]),
        labels=_named(mine, labels),
        reader=spectrum.reader,
        reproduced=share,
        closest=max(alike, key=lambda x: abs(x.correlation), default=None),
        sharing=tuple(sharing[:MOST_SHARING]),
        num_sharing=len(sharing),
    )


def share_reproduced(
    covariance_CC: FloatArray, own_C: BoolArray, kept_C: BoolArray, groups: int = 1
) -> float | None:
    """R^2 of channels predicted from kept ones of the same convolution group, 0 to 1.

        1 - tr(Cov_oo - 2 A Cov_ko + A Cov_kk A^T) / tr(Cov_oo),   A = Cov_ok (Cov_kk + ridge)^-1

    which is the prediction that the repair makes, with a constant (`repair.predict_channels`).

    Args:
        own_C, kept_C: which channels are predicted, and from which.

    Returns:
        None where the channels never vary.
    """
    variance = float(np.trace(covariance_CC[np.ix_(own_C, own_C)]))
    if variance <= 0:
        return None
    explained = 0.0
    for part in np.arange(len(own_C)).reshape(groups, -1):
        own, kept = part[own_C[part]], part[kept_C[part]]
        cross_ko, cov_kk = covariance_CC[np.ix_(kept, own)], covariance_CC[np.ix_(kept, kept)]
        slope_ko, _ = solve_damped(cov_kk, damping(cov_kk), cross_ko)
        explained += float((slope_ko * (2 * cross_ko - cov_kk @ slope_ko)).sum())
    return min(max(explained / variance, 0.0), 1.0)


def correlate(
    covariance_CC: FloatArray, own: IntArray, others: Sequence[IntArray]
) -> list[float | None]:
    """Correlation of a filter's response with that of others, -1 to 1.

    Of several channels, the pair with the largest magnitude counts. None for a filter that never
    varies.

    Args:
        own: channels of the filter, which varies.
        others: channels of each of the others.
    """
    return [_correlation(covariance_CC, own, other) for other in others]


def _correlation(covariance_CC: FloatArray, own: IntArray, other: IntArray) -> float | None:
    variance_C = np.diagonal(covariance_CC)
    own, other = own[variance_C[own] > 0], other[variance_C[other] > 0]
    if not len(own) or not len(other):
        return None
    scale = np.sqrt(np.outer(variance_C[own], variance_C[other]))
    values = (covariance_CC[np.ix_(own, other)] / scale).ravel()
    return float(np.clip(values[np.abs(values).argmax()], -1, 1))


def _alike(
    index: int, correlation: float, mine: Sequence[int], its: Sequence[int], labels: Sequence[str]
) -> AlikeFilter:
    shared = [label for label in mine if label in its]
    return AlikeFilter(index, correlation, _named(its, labels), _named(shared, labels))


def _selected(clusters: Clusters, unit: int) -> tuple[int, ...]:
    """Labels in a unit's clusters, cluster by cluster."""
    return tuple(label for cluster in clusters.of(unit) for label in cluster)


def _named(selected: Sequence[int], labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(labels[i] if i < len(labels) else str(i) for i in selected)
