"""The paper's table and the claims of its abstract, from a spectrum. Pure: no I/O.

Source: arXiv 2305.18078.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prune_dl.prune.mechanism.spectrum import Spectrum
from scipy.stats import spearmanr

SELECTIVE = 1.2
"""SNR from which a layer selects labels; 1 is what fields that say nothing about labels have."""


@dataclass(frozen=True)
class Row:
    """One layer. Means over its filters; names as in the paper."""

    layer: str
    filters: int
    SR: float
    N_c: float
    C_s: float
    diagonal: float
    n: float
    n_in: float
    SNR: float
    sharpness: float


@dataclass(frozen=True)
class Claim:
    """A claim, whether it holds by its stated test, and the figures that the test used."""

    text: str
    holds: bool
    evidence: str


def rows_of(spectrum: Spectrum) -> tuple[Row, ...]:
    """One row for each measured layer, in execution order."""
    return tuple(
        Row(
            layer=group.name,
            filters=len(group.snr_F),
            SR=group.success_rate,
            N_c=group.clusters_per_filter,
            C_s=group.cluster_size,
            diagonal=group.labels_on_diagonal,
            n=group.noise,
            n_in=group.noise_in,
            SNR=group.snr,
            sharpness=float(group.sharpness_F.mean()),
        )
        for group in spectrum.groups
        if group is not None
    )


def table(rows: Sequence[Row]) -> str:
    """A markdown table."""
    head = "| layer | filters | SR | N_c | C_s | diagonal | n | n_in | SNR | sharpness |"
    lines = [
        f"| {r.layer} | {r.filters} | {r.SR:.3f} | {r.N_c:.2f} | {r.C_s:.2f} | {r.diagonal:.2f} | "
        f"{r.n:.1f} | {r.n_in:.1f} | {r.SNR:.2f} | {r.sharpness:.2f} |"
        for r in rows
    ]
    return "\n".join([head, "|---" * 10 + "|", *lines])


def check(rows: Sequence[Row], num_labels: int) -> tuple[Claim, ...]:
    """The four claims of the abstract, each with a test that noise does not pass.

    Depth correlations are Spearman's; K is the number of labels. Few labels and little noise
    mean something only where the entries that survive the threshold are on the diagonal more often
    than by chance, so both claims about selection ask for `SELECTIVE` as well: the fields of
    shuffled labels thin out with depth, too.
    """
    first, last = rows[0], rows[-1]
    rise, fall = _with_depth([r.SR for r in rows]), _with_depth([r.n for r in rows])
    snr = _with_depth([r.SNR for r in rows])
    return (
        Claim(
            "the success rate progresses with the layers",
            rise >= 0.8 and last.SR - first.SR >= 0.05,
            f"correlation with depth {rise:.2f}, SR {first.SR:.3f} to {last.SR:.3f}",
        ),
        Claim(
            "each filter selects a small subset of the labels",
            last.diagonal <= 0.3 * num_labels and last.SNR >= SELECTIVE,
            f"last layer: {last.diagonal:.2f} of {num_labels} labels, SNR {last.SNR:.2f}",
        ),
        Claim(
            "the selection sharpens with depth",
            fall <= -0.7 and last.n <= 0.8 * first.n and last.SNR >= SELECTIVE,
            f"noise: correlation with depth {fall:.2f}, n {first.n:.1f} to {last.n:.1f}, "
            f"SNR of the last layer {last.SNR:.2f}",
        ),
        Claim(
            "the signal-to-noise ratio rises",
            snr >= 0.7 and last.SNR - first.SNR >= 0.2,
            f"correlation with depth {snr:.2f}, SNR {first.SNR:.2f} to {last.SNR:.2f}",
        ),
    )


def _with_depth(values: Sequence[float]) -> float:
    """Spearman correlation with the layer's number; 0 where nothing varies."""
    if len(set(values)) < 2:
        return 0.0
    return float(spearmanr(range(len(values)), values).statistic)
