"""Label matrices of single filters, cut down to what a person can read.

The averaged output field of filter f, M_f[i, j], is how strongly inputs of label i drive output
unit j through f alone. A picture shows M_f divided by its maximum, its labels reordered so that
every cluster is a block on the diagonal (as in Phys. Rev. E 111, 065307).

Shapes: K labels of the data, S labels shown, F filters of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...prune.mechanism.spectrum import GroupSpectrum, Spectrum
    from ...prune.structure.plan import LayerPlan, Plan

MAX_LABELS_SHOWN = 16
"""So many label names can still be read beside a matrix of the page's width."""


@dataclass(frozen=True, eq=False)
class MeasuredFilter:
    """One filter as it was measured.

    Attributes:
        layer, index: where it is; the index counts from 0 in the original network.
        field_KK: its averaged output field.
        clusters: labels that it selects together.
        sharpness, snr: of the field.
        kept: whether the plan keeps it.
    """

    layer: str
    index: int
    field_KK: NDArray[np.floating]
    clusters: Sequence[Sequence[int]]
    sharpness: float
    snr: float
    kept: bool


@dataclass(frozen=True)
class FilterPicture:
    """One filter's label matrix.

    Attributes:
        layer, filter: where it is; the filter's index counts from 0 in the original network.
        labels: (S,) names in the order shown: cluster by cluster, then the others.
        num_labels: K, how many labels the data has; S < K means that only a part is shown.
        field: (S, S) rows of M / max(M), row = input label, column = output unit; all zero where
            no entry of M is positive.
        clusters: sizes of the clusters shown, first block first.
        sharpness, snr: of the whole field, not of the part shown.
        kept: whether the plan keeps the filter.
    """

    layer: str
    filter: int
    labels: tuple[str, ...]
    num_labels: int
    field: tuple[tuple[float, ...], ...]
    clusters: tuple[int, ...]
    sharpness: float
    snr: float
    kept: bool


def draw_filter(measured: MeasuredFilter, labels: Sequence[str]) -> FilterPicture:
    """The readable part of one filter's field: its clusters first, then the strongest others."""
    field_KK = measured.field_KK
    shown, sizes = order_labels(field_KK, measured.clusters)
    top = float(field_KK.max())
    scaled_SS = field_KK[np.ix_(shown, shown)] / top if top > 0 else np.zeros((len(shown),) * 2)
    rows = tuple(tuple(round(float(value), 4) for value in row) for row in scaled_SS)
    names = tuple(labels[i] if i < len(labels) else str(i) for i in shown)
    return FilterPicture(
        layer=measured.layer,
        filter=measured.index,
        labels=names,
        num_labels=len(field_KK),
        field=rows,
        clusters=sizes,
        sharpness=float(measured.sharpness),
        snr=float(measured.snr),
        kept=bool(measured.kept),
    )


def order_labels(
    field_KK: NDArray[np.floating], clusters: Sequence[Sequence[int]]
) -> tuple[list[int], tuple[int, ...]]:
    """Labels to show (clusters first, larger ones before smaller), and the clusters' sizes.

    At most `MAX_LABELS_SHOWN` labels; the cluster that meets this limit is shown in part.
    """
    shown: list[int] = []
    sizes: list[int] = []
    for cluster in sorted(clusters, key=lambda c: (-len(c), tuple(c))):
        part = [int(label) for label in cluster[: MAX_LABELS_SHOWN - len(shown)]]
        shown.extend(part)
        sizes.extend([len(part)] if part else [])
    strongest_first = np.argsort(-np.diagonal(field_KK), kind="stable")
    rest = [int(label) for label in strongest_first if int(label) not in shown]
    room = MAX_LABELS_SHOWN - len(shown)
    return shown + sorted(rest[:room]), tuple(sizes)


def strongest_and_weakest(
    spectrum: "Spectrum", plan: "Plan", labels: Sequence[str], *, num_each: int = 2
) -> tuple[FilterPicture, ...]:
    """Pictures of an early, a middle and the last measured layer: its best and worst filters.

    A filter's strength is its SNR times the signal of its field; ties go to the lower index.
    In each layer the strongest come first, in descending order; no filter comes twice.
    """
    measured = [
        (group, layer)
        for group, layer in zip(spectrum.groups, plan.layers, strict=True)
        if group is not None
    ]
    pictures: list[FilterPicture] = []
    for position in sorted({0, len(measured) // 2, len(measured) - 1} if measured else set()):
        group, layer = measured[position]
        order = np.argsort(-(group.snr_F * group.signal_F), kind="stable")
        ends = [*order[:num_each], *order[num_each:][-num_each:]]
        pictures.extend(_draw_from(group, layer, int(index), labels) for index in ends)
    return tuple(pictures)


def _draw_from(
    group: "GroupSpectrum", layer: "LayerPlan", index: int, labels: Sequence[str]
) -> FilterPicture:
    measured = MeasuredFilter(
        layer=layer.name,
        index=index,
        field_KK=group.field(index),
        clusters=group.labels.of(index),
        sharpness=float(group.sharpness_F[index]),
        snr=float(group.snr_F[index]),
        kept=index in layer.kept,
    )
    return draw_filter(measured, labels)
