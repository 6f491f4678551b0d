"""Removed filters with a high SNR, and which kept filters say the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlikeFilter:
    """A kept filter that says something of what a removed one said.

    Attributes:
        filter: its index, from 0 in the original network.
        correlation: of its response with the removed filter's, -1 to 1, over images and positions.
        labels: those in its clusters.
        shared: those of them that the removed filter has in its clusters, too.
    """

    filter: int
    correlation: float
    labels: tuple[str, ...]
    shared: tuple[str, ...]


@dataclass(frozen=True)
class RemovedFilter:
    """A removed filter, and what the network still has of it.

    Attributes:
        layer, filter: where it was; the index counts from 0 in the original network.
        snr: of its averaged output field.
        labels: those in its clusters.
        reader: the layer at whose input the responses were measured.
        reproduced: R^2 of the least-squares prediction of its response from the kept channels that
            the reader sums over with it, 0 to 1, on the images that were measured.
        closest: the kept filter of its layer with the largest magnitude of correlation; None where
            none of them varies.
        sharing: kept filters of its layer with labels in common, most labels first; a few of them.
        num_sharing: how many kept filters of its layer have labels in common.
    """

    layer: str
    filter: int
    snr: float
    labels: tuple[str, ...]
    reader: str
    reproduced: float
    closest: AlikeFilter | None
    sharing: tuple[AlikeFilter, ...]
    num_sharing: int
