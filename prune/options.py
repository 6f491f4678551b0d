"""Options in groups: each field is a flag of the command line, a key of a TOML file, and a line of
run.json (`command/trees.py` puts them together for every command). No torch is imported here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from .budget import Budget, Kind, stated_budget

RANKS = (
    *("mechanism", "response", "label-loss", "snr", "sharpness"),
    *("taylor", "l1", "l2", "fpgm", "lamp", "bn-scale", "random", "auto"),
)
"""Names that `--rank` takes, besides package.module:callable."""

ChannelOrder = Literal["rgb", "bgr"]
"""Order of the colours in an input: bgr is what OpenCV reads, and what Caffe's networks take."""
Provider = Literal["cpu", "cuda", "tensorrt", "openvino", "coreml"]


@dataclass(frozen=True)
class NetworkOptions:
    """Which network."""

    model: str
    """Checkpoint (.pt .pth .th .ckpt .safetensors, or TorchScript), folder of timm or Hugging Face,
    torchvision:NAME, timm:NAME, package.module:callable,
    or model.safetensors of an earlier run."""
    arch: str | None = None
    """Architecture, when the keys of a state dict fit several."""
    num_labels: int | None = None
    """Number of labels, for a package.module:callable that takes it as an argument."""
    weights: Literal["ema", "raw"] | None = None
    """Of a file with several sets of weights: the averaged ones (EMA, SWA, a mean teacher) or the
    raw ones. Default: averaged ones, where there are any."""
    output: str | None = None
    """Which of a network's outputs holds the logits, for one that returns several: a key, an
    attribute, an index (1), or several joined by dots (head.logits). Default: "logits", "out", the
    first of a tuple, or the only one with a column for each label."""
    trust_pickle: bool = False
    """Unpickle a whole model. A pickle can run any code: only for files whose source you trust."""
    trust_file: bool = False
    """Take the names that stand in a file (architecture, data, options of --config) for your own:
    they may import code and start downloads. Only for files whose source you trust."""


@dataclass(frozen=True)
class DataOptions:
    """Which images."""

    data: str | None = None
    """Image folder (train/ with val/ or test/, or one folder), cifar10, cifar100, fashion-mnist,
    digits, or package.module:callable. Default: the data that the model file names (train:
    digits). A folder of such a name is taken before the data set."""
    input_size: tuple[int, ...] | None = None
    """Pixels of one input: height and width, or one number for both. Default: what the model file
    says, else what the images share, else what is usual; measured where several are possible."""
    mean: tuple[float, ...] | None = None
    """Mean per channel of pixels scaled to 0..1. Default: what the model file says, else what fits
    best on held-out images."""
    std: tuple[float, ...] | None = None
    """Standard deviation per channel of pixels scaled to 0..1; the default as for --mean."""
    channel_order: ChannelOrder | None = None
    """Order of the colours in an input: rgb (the default, unless the model file says otherwise), or
    bgr, as OpenCV reads them; --mean and --std are in this order."""
    held_out: float = 0.1
    """Share of the training images that every choice is made on; the test part is read once, at the
    end."""
    labels: Path | None = None
    """Names of the labels in the order of the network's outputs: a file with a name a line, or JSON
    (a list, class_to_idx, id2label). Names without images are fine."""
    label_order: Literal["sorted", "natural"] | None = None
    """Or their order: as the data have them, folders sorted (sorted), or with numbers compared as
    numbers, as timm sorts them (natural). Default: what the model file states, else sorted; an
    order that held-out images contradict is refused unless it is given here."""
    unlabeled: bool = False
    """Read no labels: the network's own answers stand in their place, accuracy becomes fidelity
    (how often the smaller network gives the same answer), and retraining learns from the answers
    alone. A folder without label folders is taken so by itself."""
    multi_label: bool = False
    """Of unlabeled images: the network gives any number of labels for an image, every output above
    0, and not one. Labelled images say so themselves."""


@dataclass(frozen=True)
class SelectOptions:
    """Which filters go."""

    keep: float | None = None
    """Share of the removable filters of the whole network that stays: above 0, at most 1."""
    macs: float | None = None
    """Or: share of the multiply-adds that stays."""
    params: float | None = None
    """Or: share of the parameters that stays."""
    latency_ms: float | None = None
    """Or: milliseconds that one inference may take, as the benchmark measures it."""
    rank: str = "mechanism"
    """What ranks filters: mechanism, response, label-loss, snr, sharpness, l1, l2, bn-scale,
    taylor, fpgm, lamp, random, auto (measures candidates on held-out images), or your own
    package.module:callable: for each layer it gets those of group, filters (U, weights), fields,
    model, structure, statistics that its parameters name, and returns U scores, higher stays."""
    allocate: Literal["output", "sr", "error", "uniform"] = "output"
    """How a budget is spread over layers: least error per multiply-add saved, weighted by how much
    a layer's error changes the outputs (output; measured), by the probe accuracy that later layers
    still gain (sr) or not weighted (error), or the same share in every layer (uniform)."""
    multiple: int | None = None
    """Give every layer a multiple of this; 1 for any width. Default: widths as round as layer and
    budget allow (of 16 from 64 filters on), except with --allocate uniform."""
    hardware_widths: Provider | None = None
    """Give every layer a width that no larger one is faster than, as measured on this provider
    (cpu, cuda, ...) at batch 1; measured once per machine."""
    whole: tuple[str, ...] = ()
    """Layers that keep all of their filters: names, modules with layers in them, or patterns such
    as layer4.*.conv1. Layers whose filters go together with theirs stay whole too."""
    only: tuple[str, ...] = ()
    """Or: the only layers that filters are removed from; all others stay whole."""
    at_least: int = 1
    """Filters that every layer keeps at the least (all, where it has fewer)."""
    repair: bool = True
    """Let the remaining weights compensate for removed channels (least squares, no training)."""
    images: int = 6000
    """Training images that statistics are collected on."""
    cut_depth: bool = False
    """Also take out layers that do not improve probe accuracy (the last ones, or residual branches)
    if that is better at the same budget (held-out images, after repair); the classifier is solved
    again."""
    steps: int = 1
    """Reach the budget in so many steps: rank, remove, repair, retrain for one epoch, and again;
    --epochs are those of the last step."""
    max_drop: float | None = None
    """Percentage points of held-out accuracy that may be lost. Alone: find the smallest network
    that loses no more after repair. In any case: exit code 4 if the result loses more."""

    @property
    def budget(self) -> Budget:
        """The one budget that these options state; raises UsageError as `stated_budget`."""
        given: dict[Kind, float | None] = {
            "keep": self.keep,
            "macs": self.macs,
            "params": self.params,
            "latency_ms": self.latency_ms,
            "max_drop": self.max_drop,
        }
        return stated_budget(given)


@dataclass(frozen=True)
class RetrainOptions:
    """How the smaller network is retrained."""

    epochs: int = 10
    """Passes over the training images; 0 for none."""
    lr: float | None = None
    """Peak learning rate; default 0.005 for retraining (0.02 where outputs are imitated that are no
    class scores), 0.1 for training."""
    batch_size: int = 128
    """Images in one step."""
    distill: bool = True
    """Use the original network as teacher (knowledge distillation; retraining only)."""
    temperature: float = 4.0
    """Temperature of the distillation."""
    mixup: float | None = None
    """mixup: train on blends of two images, with shares from Beta(mixup, mixup); 0 for none.
    Default 0.5 for retraining (0 where inputs are whole numbers, or no class scores judge), 0 for
    training."""
    averaging: float = 0.0
    """Deliver an exponential moving average of the weights; its decay per step, such as 0.99; 0 for
    none."""
    patience: int | None = None
    """Early stopping: stop after so many epochs without a better held-out accuracy, and take the
    best epoch. Default: run all epochs and take the last."""


@dataclass(frozen=True)
class BenchOptions:
    """How latency is measured."""

    provider: Provider = "cpu"
    """ONNX Runtime execution provider; fails if ONNX Runtime falls back to another one."""
    latency_batch: int = 1
    """Batch size while measuring latency."""
    threads: int | None = None
    """Threads of ONNX Runtime; default: all cores."""
    bench_seconds: float = 3.0
    """Least seconds that each file is run for."""


@dataclass(frozen=True)
class RunOptions:
    """Where and how the command runs."""

    out: Path | None = None
    """Output folder (for train and export: file). Default: under runs/, after the model's name."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; fails if the machine has no such device."""
    seed: int = 0
    """Seed of every random choice: the same seed, data and machine give the same result."""
    resume: bool = False
    """Go on with a run that was interrupted or failed, with all that it has finished: the network,
    data and options must be the same (sweep: with the missing points)."""
    json: bool = False
    """One JSON document on stdout instead of tables."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Say nothing on stderr but errors; results stay on stdout."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Say more on stderr: when a stage starts, all options, versions."""
    log: Path | None = None
    """A file that keeps all that is said on stderr, details too, with the time of every line."""
    config: Path | None = None
    """TOML (or run.json) with these options; flags on the command line win."""


@dataclass(frozen=True)
class SaidOptions:
    """What a command says, of one that needs no other option of a run."""

    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Say nothing on stderr but errors; results stay on stdout."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Say more on stderr: all options, versions."""
    log: Path | None = None
    """A file that keeps all that is said on stderr, details too, with the time of every line."""


@dataclass(frozen=True)
class Settings:
    """How a job is done, apart from its budget: which filters go, retraining, latency."""

    select: SelectOptions = field(default_factory=SelectOptions)
    retrain: RetrainOptions = field(default_factory=RetrainOptions)
    bench: BenchOptions = field(default_factory=BenchOptions)
