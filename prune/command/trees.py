"""One dataclass tree per command: its flags, its TOML file and its run.json. No torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Suppress, arg

from ..options import (
    BenchOptions,
    DataOptions,
    NetworkOptions,
    Provider,
    RetrainOptions,
    RunOptions,
    SaidOptions,
    SelectOptions,
    Settings,
)


@dataclass(frozen=True)
class OneGo(RunOptions):
    """Of a command that keeps nothing to go on from."""

    resume: Suppress[bool] = False


@dataclass(frozen=True)
class Unwritten(OneGo):
    """Of a command that writes nothing."""

    out: Suppress[Path | None] = None


@dataclass(frozen=True)
class FirstTraining(RetrainOptions):
    """Of a training that has no other network to learn from."""

    epochs: int = 60
    """Passes over the training images."""
    distill: Suppress[bool] = False
    temperature: Suppress[float] = 4.0


@dataclass(frozen=True)
class LabelledData(DataOptions):
    """Of a command that needs labels."""

    unlabeled: Suppress[bool] = False
    multi_label: Suppress[bool] = False


@dataclass(frozen=True)
class Job:
    """Checkpoint in; smaller network, ONNX file and report out."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    select: SelectOptions = field(default_factory=SelectOptions)
    retrain: RetrainOptions = field(default_factory=RetrainOptions)
    bench: BenchOptions = field(default_factory=BenchOptions)
    run: RunOptions = field(default_factory=RunOptions)
    judge: Literal["answers", "outputs"] | None = None
    """What networks are compared by: the labels that they answer with (answers), or all that they
    give, whatever it is (outputs: segmentation maps, pictures, embeddings; no label is read).
    Default: as the network's outputs tell, which is said."""
    part: str | None = None
    """Prune this module alone, such as backbone: what it gives keeps its width, so that the rest
    (heads, boxes) is untouched. The whole network is saved; the ONNX file holds the part."""
    metric: str | None = None
    """Your own measure, package.module:callable, called with the whole network of every stage;
    gives a number, higher is better, which is reported beside output fidelity. An argument
    called batches gets the test loader of your --data."""
    labels_kept: tuple[str, ...] = ()
    """Keep these labels alone: the classifier is cut to them, and all that follows is done, and
    measured, on their images. Names with spaces or commas between, or a file with a name a line."""
    track: str | None = None
    """Also send every epoch's figures, and the final ones, to tensorboard (a folder of that name
    beside --out), mlflow (where MLFLOW_TRACKING_URI says) or your own package.module:callable."""
    label_names: Path | None = None
    """Readable names of the labels, in the order of the outputs, for the pages alone: a file as
    --labels takes it. Default: the data's; for WordNet ids, those that torchvision or timm has."""
    hub_folder: Path | None = None
    """Also write a folder for the Hugging Face Hub: weights, ONNX, configuration, card."""
    opset: int | None = None
    """Version of the ONNX operators, 11 or later, where a runtime needs a certain one; default: the
    exporter's own, which needs no conversion."""
    dry_run: bool = False
    """Stop after the plan and print it per layer; write nothing."""

    @property
    def settings(self) -> Settings:
        """How the job is done."""
        return Settings(self.select, self.retrain, self.bench)


@dataclass(frozen=True)
class Train:
    """Train a network to its best accuracy (phase 1)."""

    arch: str
    """Zoo name, torchvision:NAME, timm:NAME or package.module:callable."""
    data: LabelledData = field(default_factory=LabelledData)
    train: FirstTraining = field(default_factory=FirstTraining)
    run: RunOptions = field(default_factory=RunOptions)
    track: str | None = None
    """Where every epoch's figures go, too; see prune-dl --help."""


@dataclass(frozen=True)
class Rank:
    """Measure every layer and filter of a network, remove nothing."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    run: RunOptions = field(default_factory=RunOptions)
    images: int = 10000
    """Training images that the statistics are taken from."""
    probe: Literal["ridge", "softmax", "sgd"] = "ridge"
    """How the linear probe of each layer is trained: ridge (closed form, one pass over the images),
    softmax (one pass, then the published training on a bounded sample of it), or sgd (exactly as in
    arXiv 2305.18078: a layer without bias on the frozen feature map; takes hours)."""
    probe_epochs: int | None = None
    """Epochs of --probe sgd (default 200, as published) or softmax (40); fewer compress the
    schedule."""
    rank: str = "mechanism"
    """The criterion whose scores are listed; see prune-dl --help."""
    keep: float | None = None
    """Also mark the filters that this budget would keep: share of the removable filters."""
    macs: float | None = None
    """Or: share of the multiply-adds."""
    params: float | None = None
    """Or: share of the parameters."""
    labels_kept: tuple[str, ...] = ()
    """Keep these labels alone; see prune-dl --help."""
    label_names: Path | None = None
    """Readable names of the labels for the page; see prune-dl --help."""


@dataclass(frozen=True)
class Export:
    """Write the ONNX file of a network and check it against torch."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    run: OneGo = field(default_factory=OneGo)
    opset: int | None = None
    """Version of the ONNX operators, 11 or later, where a runtime needs a certain one; default: the
    exporter's own, which needs no conversion."""
    static_batch: int | None = None
    """Fix the batch to so many images; default: any batch."""
    embed_preprocess: bool = False
    """Put normalisation into the graph: uint8 NHWC pixels in, probabilities out."""
    fp16: bool = False
    """Weights and arithmetic in half precision."""
    int8: bool = False
    """Static INT8 quantisation, calibrated on held-out images."""
    max_drop: float = 1.0
    """Percentage points of held-out accuracy that INT8 may lose."""
    test: bool = False
    """Also measure the accuracy of the finished file on the test part. Do this once: test images
    that choose between files no longer measure them."""
    hub_folder: Path | None = None
    """Instead of one file: turn the run folder of --model into a folder for the Hugging Face Hub.
    Nothing is uploaded."""


@dataclass(frozen=True)
class Bench:
    """Latency of ONNX files, interleaved; speed-ups refer to the first."""

    files: tuple[Path, ...]
    """ONNX files, also of other tools."""
    bench: BenchOptions = field(default_factory=BenchOptions)
    input_size: tuple[int, ...] | None = None
    """Sizes of one image (3 224 224), for files that leave them open."""
    run: SaidOptions = field(default_factory=SaidOptions)
    json: bool = False
    """One JSON document on stdout instead of a table."""


@dataclass(frozen=True)
class Evaluate:
    """Top-1 accuracy on the test part, with its 95 % interval."""

    network: NetworkOptions
    data: DataOptions = field(default_factory=DataOptions)
    run: Unwritten = field(default_factory=Unwritten)


@dataclass(frozen=True)
class Sweep:
    """Prune to several budgets; which files are worth having."""

    network: NetworkOptions
    keep: tuple[float, ...] = ()
    """Shares of the removable filters that stay, one network each: --keep 0.9 0.7 0.5."""
    macs: tuple[float, ...] = ()
    """Or: shares of the multiply-adds that stay."""
    latency_ms: tuple[float, ...] = ()
    """Or: milliseconds that a run may take, each the widest network that is as fast."""
    rank: str = "mechanism"
    """What ranks filters; see prune-dl --help."""
    allocate: Literal["output", "sr", "error", "uniform"] = "output"
    """How a budget is spread over layers."""
    hardware_widths: Provider | None = None
    """Give every layer a width that no larger one is faster than, as measured on this provider
    (cpu, cuda, ...) at the batch of --latency-batch; measured once per machine."""
    whole: tuple[str, ...] = ()
    """Layers that keep all of their filters; see prune-dl --help."""
    only: tuple[str, ...] = ()
    """Or: the only layers that filters are removed from."""
    at_least: int = 1
    """Filters that every layer keeps at the least."""
    images: int = 6000
    """Training images that the statistics are taken from, once for all budgets."""
    labels_kept: tuple[str, ...] = ()
    """Keep these labels alone; see prune-dl --help."""
    opset: int | None = None
    """Version of the ONNX operators, 11 or later, where a runtime needs a certain one; default: the
    exporter's own, which needs no conversion."""
    fp16: bool = True
    """Also a float16 file of each network."""
    int8: bool = True
    """Also an INT8 file of each network."""
    max_drop: float = 1.0
    """Percentage points of held-out accuracy that INT8 may lose."""
    distributed: Literal["ray"] | None = None
    """Make the points as Ray tasks (pip install "prune-dl[ray]"), on this machine or on the cluster
    of RAY_ADDRESS; model, data and --out must then be the same paths on all of its machines."""
    data: DataOptions = field(default_factory=DataOptions)
    retrain: RetrainOptions = field(default_factory=lambda: RetrainOptions(epochs=0))
    bench: BenchOptions = field(default_factory=BenchOptions)
    run: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True)
class Demo:
    """Train VGG-6 on handwritten digits, then prune it. No download."""

    out: Path = Path("runs/demo")
    """Output folder."""
    keep: float = 0.5
    """Share of the removable filters that stays."""
    run: SaidOptions = field(default_factory=SaidOptions)
    json: bool = False
    """One JSON document on stdout instead of tables."""


@dataclass(frozen=True)
class Init:
    """Write a commented TOML of the job, to run with --config."""

    model: str = "net.pt"
    """The network, as --model of the job."""
    data: str | None = None
    """The images, as --data of the job."""
    keep: float = 0.6
    """Share of the removable filters that stays."""
    out: Path = Path("job.toml")
    """The file."""


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has and what is missing."""

    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Only the verdict: ready, or what to mend."""
    json: bool = False
    """One JSON document on stdout instead of a table."""


@dataclass(frozen=True)
class Completion:
    """Print what a shell needs to complete commands and flags."""

    shell: Literal["bash", "zsh", "tcsh"]
    """The shell; for bash: eval "$(prune-dl completion bash)"."""


COMMANDS: dict[str, type[Any]] = {
    "prune": Job,
    "train": Train,
    "rank": Rank,
    "sweep": Sweep,
    "export": Export,
    "bench": Bench,
    "evaluate": Evaluate,
    "demo": Demo,
    "init": Init,
    "doctor": Doctor,
    "completion": Completion,
}
"""Every command by its name; without a name it is `prune`."""
