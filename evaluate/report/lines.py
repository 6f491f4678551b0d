"""What a report is made of: figures before and after, and a line for each thing it lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...prune.output_score import OutputFidelity
from ...prune.scores import FIDELITY, Score

_T = TypeVar("_T")
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Change(Generic[_T]):
    """One quantity of the original network and of the final one."""

    original: _T
    final: _T


@dataclass(frozen=True)
class Stages:
    """Accuracy after each stage of the job; None where a stage was not run."""

    original: Score | None
    removed: Score | None
    repaired: Score | None
    final: Score | None

    @property
    def name(self) -> str:
        """What the values are called: "top-1", "mean average precision", "fidelity" or "output
        fidelity"."""
        found = (self.original, self.removed, self.repaired, self.final)
        return next((score.name for score in found if score is not None), "top-1")

    @property
    def of_answers(self) -> bool:
        """Whether the values are fidelity: labels are the answers of the network that came in."""
        found = (self.original, self.removed, self.repaired, self.final)
        return any(score is not None and score.key == FIDELITY for score in found)

    @property
    def by_output(self) -> dict[str, float]:
        """Fidelity of every output of the final network, where its outputs judge it; else empty."""
        return self.final.by_output if isinstance(self.final, OutputFidelity) else {}


NOT_RUN = Stages(None, None, None, None)


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call with one batch."""

    p50: float
    p90: float
    p99: float
    mean: float
    std: float


@dataclass(frozen=True)
class Benchmark:
    """How the latencies were measured; `noisy`: the runs varied by more than 10 %."""

    provider: str
    batch_size: int
    threads: int
    noisy: bool = False
    reference_ms: float | None = None


@dataclass(frozen=True)
class ParityLine:
    """The exported file against the network it came from, on real images.

    Attributes:
        top1_agreement: None where outputs are no class scores.
        outputs: relative difference of each output by name, where its own outputs judge a network.
    """

    max_abs_difference: float
    max_relative_difference: float
    top1_agreement: float | None
    num_images: int
    held_out: Score | None = None
    outputs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CertificateLine:
    """Whether removing the filters equals masking them; `reason` where that cannot be asked."""

    applies: bool
    ok: bool
    max_relative_error: float | None
    tolerance: float
    reason: str = ""


@dataclass(frozen=True)
class LayerLine:
    """One layer of the network before and after, and what the mechanism found in it.

    Attributes:
        success_rate: accuracy of the probe after this layer, a fraction; None if not measured.
        snr: signal-to-noise ratio of its fields; cluster_size: mean labels of a cluster;
        clusters_per_filter, noise: means over its filters (see mechanism/spectrum).
        reason: why some or all of its filters had to stay; empty if all could go.
        together: other layers that have the same filters: MACs and parameters are of all of them.
        why: what decided on the number of filters that stay; empty where `reason` says it.
    """

    name: str
    num_filters: int
    num_kept: int
    macs: Change[int] | None = None
    params: Change[int] | None = None
    success_rate: float | None = None
    snr: float | None = None
    cluster_size: float | None = None
    clusters_per_filter: float | None = None
    noise: float | None = None
    reason: str = ""
    together: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class DepthLine:
    """Accuracy of the linear probe after one layer, a fraction of the held-out images.

    The probe takes the input of `reader`; in a residual network several readers read the stream
    that `layer` was the first to write.
    """

    layer: str | None
    success_rate: float
    reader: str = ""


@dataclass(frozen=True)
class EpochLine:
    """One epoch of the retraining: mean loss, and the held-out score, a fraction."""

    epoch: int
    loss: float
    held_out: float | None = None


@dataclass(frozen=True)
class ModelLine:
    """The original network: how it was named, its file's hash, and its `Origin`'s fields.

    Attributes:
        all_labels: how many labels it had as it was given, where only some were kept.
        part: the module that alone was pruned.
        label_names: of the labels, as the page shows them; empty: as they are called.
    """

    name: str
    num_labels: int
    sha256: str | None = None
    arch: str | None = None
    data: str | None = None
    labels: tuple[str, ...] = ()
    input_size: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channel_order: str = "rgb"
    input_sources: Mapping[str, str] = field(default_factory=dict)
    all_labels: int | None = None
    part: str | None = None
    label_names: tuple[str, ...] = ()
