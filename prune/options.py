"""One dataclass tree per command: the flags, the TOML file (`--config`) and run.json; no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

RANKS = (
    *("mechanism", "response", "label-loss", "snr", "sharpness"),
    *("taylor", "l1", "l2", "fpgm", "lamp", "bn-scale", "random", "auto"),
)
"""Names that `--rank` takes, besides package.module:callable."""

Provider = Literal["cpu", "cuda", "tensorrt", "openvino", "coreml"]


@dataclass(frozen=True)
class NetworkOptions:
    """Which network."""

    model: str
    """Checkpoint (.pt .pth .th .safetensors), torchvision:NAME, timm:NAME, package.module:callable,
    or model.safetensors of an earlier run."""
    arch: str | None = None
    """Architecture, when the keys of a state dict fit several."""
    num_labels: int | None = None
    """Labels of the output layer, for a package.module:callable that needs to be told."""
    trust_pickle: bool = False
    """Unpickle a whole model. It can run any code: only for files you made yourself."""


@dataclass(frozen=True)
class DataOptions:
    """Which images."""

    data: str | None = None
    """Image folder (train/ with val/ or test/, or one folder), cifar10, cifar100, fashion-mnist,
    digits, or package.module:callable. Default: the data that the model file names."""
    input_size: int | None = None
    """Height and width of one input, in pixels."""
    mean: tuple[float, ...] | None = None
    """Mean per channel of pixels scaled to 0..1."""
    std: tuple[float, ...] | None = None
    """Standard deviation per channel of pixels scaled to 0..1."""
    held_out: float = 0.1
    """Share of the training images that makes every choice; the test part is read once, last."""


@dataclass(frozen=True)
class SelectOptions:
    """Which filters go."""

    keep: float | None = None
    """Share of the removable filters that stay, over the network: above 0, at most 1."""
    macs: float | None = None
    """Or: share of the multiply-adds that stays."""
    params: float | None = None
    """Or: share of the parameters that stays."""
    latency_ms: float | None = None
    """Or: milliseconds that a run may take, as the benchmark measures it."""
    rank: str = "mechanism"
    """What ranks filters: mechanism, response, label-loss, snr, sharpness, l1, l2, bn-scale,
    taylor, fpgm, lamp, random, auto (measures candidates on held-out images), or your own
    package.module:callable: for each layer it gets those of group, filters (U, weights), fields,
    model, structure, statistics that its parameters name, and returns U scores, higher stays."""
    allocate: Literal["sr", "error", "uniform"] = "sr"
    """How a budget is spread over layers: what costs least, weighted by the success rate still to
    be gained behind a layer (sr) or not (error), or the same share in every layer (uniform)."""
    multiple: int | None = None
    """Give every layer a multiple of this; 1 for any width. Default: widths as round as layer and
    budget allow (of 16 from 64 filters on), except with --allocate uniform."""
    hardware_widths: Provider | None = None
    """Give every layer a width that no larger one is faster than, as measured on this provider
    (cpu, cuda, ...) at batch 1; measured once per machine."""
    repair: bool = True
    """Fold what removed channels said into the weights that stay (least squares, no training)."""
    images: int = 6000
    """Training images that the statistics are taken from."""
    cut_depth: bool = False
    """Also take out layers that bring no success rate (the end, or residual branches), if that is
    better at the same budget (held-out images, after repair); the classifier is solved again."""
    steps: int = 1
    """Reach the budget in so many steps: rank, remove, repair, retrain for one epoch, and again;
    --epochs are those of the last step."""
    max_drop: float | None = None
    """Points of held-out accuracy that may be lost: alone, it finds the thinnest network that
    keeps to it after repair; in any case the result exits 4 when it loses more."""


@dataclass(frozen=True)
class RetrainOptions:
    """How the smaller network is retrained."""

    epochs: int = 10
    """Passes over the training images; 0 for none."""
    lr: float | None = None
    """Peak learning rate; default 0.02 for retraining, 0.1 for training."""
    batch_size: int = 128
    """Images in one step."""
    distill: bool = True
    """Learn from the outputs of the original network too (retraining only)."""
    temperature: float = 4.0
    """Softness of those outputs: they are divided by it before they are compared."""
    mixup: float = 0.0
    """Train on blends of two images, with shares from Beta(mixup, mixup); 0 for none."""
    averaging: float = 0.0
    """Deliver a running average of the weights: share of the old average kept at every step, such
    as 0.99; 0 for none."""
    patience: int | None = None
    """Stop after so many epochs without a better held-out accuracy and take the best epoch; without
    it all epochs are run and the last one is taken."""


@dataclass(frozen=True)
class BenchOptions:
    """How latency is measured."""

    provider: Provider = "cpu"
    """ONNX Runtime execution provider; one that is not really used is an error."""
    latency_batch: int = 1
    """Images per inference."""
    threads: int | None = None
    """Threads of ONNX Runtime; default: all cores."""
    bench_seconds: float = 3.0
    """Least time each file is run."""


@dataclass(frozen=True)
class RunOptions:
    """Where and how the command runs."""

    out: Path | None = None
    """Output folder (for train and export: file). Default: under runs/, after the model's name."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps. One that is missing is an error."""
    seed: int = 0
    """Same seed, same data, same machine: same result."""
    resume: bool = False
    """Go on with a retraining that was interrupted."""
    json: bool = False
    """One JSON document on stdout instead of tables."""
    config: Path | None = None
    """TOML (or run.json) with these options; flags on the command line win."""


@dataclass(frozen=True)
class Job:
    """Checkpoint in; smaller network, ONNX file and report out."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    select: SelectOptions = field(default_factory=SelectOptions)
    retrain: RetrainOptions = field(default_factory=RetrainOptions)
    bench: BenchOptions = field(default_factory=BenchOptions)
    run: RunOptions = field(default_factory=RunOptions)
    hub_folder: Path | None = None
    """Also write a folder for the Hugging Face Hub: weights, ONNX, configuration, card."""
    dry_run: bool = False
    """Stop after the plan and print it per layer; write nothing."""


@dataclass(frozen=True)
class Train:
    """Train a network to its best success rate (phase 1 of the mechanism)."""

    arch: str
    """Zoo name, torchvision:NAME, timm:NAME or package.module:callable."""
    data: DataOptions = field(default_factory=lambda: DataOptions(data="digits"))
    train: RetrainOptions = field(default_factory=lambda: RetrainOptions(epochs=60, distill=False))
    run: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True)
class Rank:
    """Measure every layer and filter of a network, remove nothing."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    run: RunOptions = field(default_factory=RunOptions)
    images: int = 10000
    """Training images that the statistics are taken from."""
    probe: Literal["ridge", "softmax", "sgd"] = "ridge"
    """How a layer is asked for the labels: ridge (closed form, one pass over the images), softmax
    (one pass, then the published training on a bounded sample of it: fields as the paper's), or sgd
    (arXiv 2305.18078 to the letter: a layer without bias, trained on the frozen map; hours)."""
    probe_epochs: int | None = None
    """Epochs of --probe sgd (default 200, as published) or softmax (40); fewer compress the
    schedule."""
    rank: str = "mechanism"
    """The criterion whose scores are listed."""
    keep: float | None = None
    """Also mark the filters that this budget would keep: share of the removable filters."""
    macs: float | None = None
    """Or: share of the multiply-adds."""
    params: float | None = None
    """Or: share of the parameters."""


@dataclass(frozen=True)
class Export:
    """Write the ONNX file of a network and check it against torch."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    run: RunOptions = field(default_factory=RunOptions)
    opset: int | None = None
    """ONNX opset; default: the newest that is safe."""
    static_batch: int | None = None
    """Fix the batch to so many images; default: any batch."""
    embed_preprocess: bool = False
    """Put normalisation into the graph: uint8 NHWC pixels in, probabilities out."""
    fp16: bool = False
    """Weights and arithmetic in half precision."""
    int8: bool = False
    """Static INT8 quantisation, calibrated on held-out images."""
    max_drop: float = 1.0
    """Points of held-out accuracy that INT8 may lose."""
    test: bool = False
    """Also count the hits of the finished file on the test part. Look once: a choice between files
    that is made on it is no longer measured by it."""
    hub_folder: Path | None = None
    """Instead of one file: turn the run folder of --model into a folder for the Hugging Face Hub.
    Nothing is uploaded."""


@dataclass(frozen=True)
class Bench:
    """Compare the latency of ONNX files, interleaved; the first is the yardstick."""

    files: tuple[Path, ...]
    """ONNX files, also of other tools."""
    bench: BenchOptions = field(default_factory=BenchOptions)
    input_size: tuple[int, ...] | None = None
    """Sizes of one image (3 224 224), for files that leave them open."""
    json: bool = False
    """One JSON document on stdout instead of a table."""


@dataclass(frozen=True)
class Evaluate:
    """Top-1 accuracy of a network on the test part, with its 95 % interval."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    run: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True)
class Sweep:
    """One network at several budgets: which of its files are worth having."""

    network: NetworkOptions
    keep: tuple[float, ...] = ()
    """Shares of the removable filters that stay, one network each: --keep 0.9 0.7 0.5."""
    macs: tuple[float, ...] = ()
    """Or: shares of the multiply-adds that stay."""
    latency_ms: tuple[float, ...] = ()
    """Or: milliseconds that a run may take, each the widest network that is as fast."""
    rank: str = "mechanism"
    """What ranks filters; see prune-dl --help."""
    allocate: Literal["sr", "error", "uniform"] = "sr"
    """How a budget is spread over layers."""
    hardware_widths: Provider | None = None
    """Give every layer a width that no larger one is faster than, as measured on this provider
    (cpu, cuda, ...) at the batch of --latency-batch; measured once per machine."""
    images: int = 6000
    """Training images that the statistics are taken from, once for all budgets."""
    fp16: bool = True
    """Also a float16 file of each network."""
    int8: bool = True
    """Also an INT8 file of each network."""
    max_drop: float = 1.0
    """Points of held-out accuracy that INT8 may lose."""
    distributed: Literal["ray"] | None = None
    """Make the points as Ray tasks (pip install "prune-dl[ray]"), on this machine or on the cluster
    of RAY_ADDRESS; model, data and --out must then be the same paths on all of its machines."""
    data: DataOptions = field(default_factory=DataOptions)
    retrain: RetrainOptions = field(default_factory=lambda: RetrainOptions(epochs=0))
    bench: BenchOptions = field(default_factory=BenchOptions)
    run: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True)
class Demo:
    """Train VGG-6 on handwritten digits, then do the whole job on it. No download."""

    out: Path = Path("runs/demo")
    """Output folder."""
    keep: float = 0.5
    """Share of the removable filters that stays."""
    json: bool = False
    """One JSON document on stdout instead of tables."""


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has and what is missing."""

    json: bool = False
    """One JSON document on stdout instead of a table."""
