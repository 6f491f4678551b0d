"""What `shrink` and `compress` give back: ONNX file, report, and how a notebook shows them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from ..evaluate.measure.latency import compare
from ..evaluate.measure.layer_times import LayerTimes, layer_times
from ..evaluate.report.files import write_report
from ..evaluate.report.metric_line import MetricLine
from ..export.all_outputs import ExportedOutputs
from ..export.checked import Exported, export_checked
from ..export.graph import export_onnx
from ..export.metadata import describe
from ..export.variants import Variant
from .chosen_output import output_hooked
from .errors import GateError, InputError, UsageError
from .inputs.checkpoint import Checkpoint
from .inputs.pruned_file import compose, save_pruned
from .job.account import Delivered, Finished, assemble
from .job.findings import look_into
from .job.known import Case, Planned
from .job.output_files import export_with_outputs, time_with_original
from .job.stages import Outcome
from .options import BenchOptions, Settings
from .shown import html_table, short_repr
from .structure.certificate import Certificate
from .structure.cut import Cut
from .structure.plan import Plan
from .structure.units import Structure


@dataclass(frozen=True, eq=False)
class Given:
    """What a job was given.

    Attributes:
        case: the network that came in, its data and device.
        settings: how the job was done.
        came_in: that network as a file would have it, with what has to be said of it.
        output: which of several outputs holds the logits; None for the usual one.
        metric_name: what the user's own measure is called.
    """

    case: Case
    settings: Settings
    came_in: Checkpoint
    output: str | None = None
    metric_name: str = "metric"

    __repr__ = short_repr


def export_result(
    model: nn.Module, given: Given, planned: Planned, path: Path, opset: int | None
) -> Exported | ExportedOutputs:
    """Write the ONNX file of a result, checked against the network on held-out images.

    Raises:
        GateError: file and network differ; no file is left.
        InputError: the network cannot be exported.
        UsageError: the network takes several inputs, or the operator set cannot be written.
    """
    data = given.case.data
    if not isinstance(given.case.example, Tensor):
        raise UsageError(
            "export of a network of several inputs asked for; expected one tensor of images, "
            "which an ONNX file of this tool takes; export it with torch.onnx"
        )
    if given.case.outputs is not None:
        digest = {"plan": planned.plan.digest}
        return export_with_outputs(given.case, model, path, digest, opset)
    metadata = describe(data, plan=planned.plan.digest)
    with output_hooked(model, given.output):
        return export_checked(model, data, path, Variant(opset=opset), metadata=metadata)


def time_result(
    model: nn.Module, given: Given, planned: Planned
) -> tuple[Delivered | None, tuple[str, ...]]:
    """Size, parity and latency of the ONNX file of a result, the latter in turns with the
    original's; nothing, and why, where there can be none. The files are gone afterwards.

    Raises UsageError: the provider would not really be used.
    """
    case, bench = given.case, given.settings.bench
    if not isinstance(case.example, Tensor):
        return None, ("no latency: the network takes several inputs, and an ONNX file has one",)
    with TemporaryDirectory(prefix="prune-dl-report-") as folder:
        path, original = Path(folder) / "model.onnx", Path(folder) / "original.onnx"
        try:
            file = export_result(model, given, planned, path, None)
            if case.outputs is not None:
                compared = time_with_original(case, path, bench)
                return Delivered({}, file, compared, layer_times=_times(path, model, bench)), ()
            with output_hooked(case.model, given.output):
                export_onnx(case.model, case.data.input_size, original, metadata={})
        except (InputError, GateError) as error:
            return None, (f"no latency: {error}",)
        compared = compare({"original": original, "model": path}, bench)
        return Delivered({}, file, compared, layer_times=_times(path, model, bench)), ()


def _times(path: Path, model: nn.Module, bench: BenchOptions) -> LayerTimes | None:
    return layer_times(path, bench, [name for name, _ in model.named_modules()])


def html_of(
    planned: Planned, outcome: Outcome, notes: tuple[str, ...], metric: Mapping[str, float]
) -> str:
    """A result as a notebook shows it: what it costs, what it has, and what has to be said."""
    before, after = planned.original, planned.left
    counts = [("filters", before.keep, after.keep), ("MACs", before.macs, after.macs)]
    rows = [*counts, ("parameters", before.params, after.params)]
    changes = [(name, f"{old:,}", f"{new:,}", f"{new / old:.1%}") for name, old, new in rows]
    parts = [
        html_table("Smaller network", ("", "before", "after", "left"), changes),
        html_table(
            f"Held-out {outcome.held_out['original'].name}",
            ("network", "value", "95 % interval"),
            list(_stages(outcome)),
        ),
        planned.plan._repr_html_(),
    ]
    if metric:
        line = MetricLine.of("metric", metric)
        figures = [(stage, line.shown(stage)) for stage in metric]
        parts.append(html_table("Your metric (higher is better)", ("network", "value"), figures))
    if notes:
        parts.append(html_table("Notes", (), [[note] for note in notes]))
    return "".join(parts)


def _stages(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    for stage, score in outcome.held_out.items():
        yield stage, f"{score.value:.2%}", f"{score.low:.2%} to {score.high:.2%}"


@dataclass(frozen=True)
class Shrunk:
    """A smaller network and the proof of what was done.

    Attributes:
        model: the smaller network, of the same class; the original is unchanged.
        plan: which filters stay, by layer.
        certificate: whether removing them equals masking them.
        kept_whole: layer -> why some or all of its filters could not be removed.
        cut: what was removed and what was kept, and the structure that was traced.
        notes: what has to be said of the network, in a line each.

    Examples:
        >>> import torch
        >>> from prune_dl.prune import shrink
        >>> network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        >>> shrink(network, torch.ones(1, 4), keep=0.5).kept_whole
        {'2': 'it is the output of the network'}
    """

    model: nn.Module
    plan: Plan
    certificate: Certificate
    kept_whole: dict[str, str]
    cut: Cut = field(repr=False)
    notes: tuple[str, ...] = ()

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        whole = html_table("Kept whole", ("layer", "why"), self.kept_whole.items())
        return self.plan._repr_html_() + (whole if self.kept_whole else "")

    @property
    def structure(self) -> Structure:
        """What was traced, for those who want to look."""
        return self.cut.structure


@dataclass(frozen=True)
class Compressed:
    """What `compress` gives back.

    Attributes:
        model: the final network. outcome: the networks of every stage, the certificate and
            held-out accuracies. planned: structure, statistics, ranking and plan.
        given: the network that came in, the data and the settings.
        warnings: every compromise in a line.
        part: the module that was pruned, where it was not the whole: `outcome` and `planned` are
            about it alone.
        metric: stage -> what `metric` gave, NaN where that was no number; empty without one.

    Examples:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from prune_dl.prune import compress
        >>> _ = torch.manual_seed(0)
        >>> network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> images = DataLoader(torch.randn(200, 4), batch_size=50)
        >>> list(compress(network, images, keep=0.5, epochs=0).outcome.held_out)
        ['original', 'removed', 'repaired', 'final']
    """

    model: nn.Module
    outcome: Outcome
    planned: Planned
    given: Given = field(repr=False)
    warnings: tuple[str, ...] = ()
    part: str | None = None
    metric: Mapping[str, float] = field(default_factory=dict)

    @property
    def part_model(self) -> nn.Module:
        """The part that was pruned, as it stands in `model`; that itself without a part."""
        return self.model.get_submodule(self.part or "")

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return html_of(self.planned, self.outcome, self.warnings, self.metric)

    @property
    def cut(self) -> Cut:
        """What was removed and what was kept."""
        return self.planned.cut

    def save(self, path: str | Path) -> None:
        """Write weights and kept filters; `load(path, model=fresh_network)` rebuilds it."""
        came_in = self.given.came_in
        origin = replace(came_in.origin, labels=(), cut=self.planned.depth)
        within = "" if self.part is None else f"{self.part}."
        removed = {(within + name, axis): x for (name, axis), x in self.cut.kept.items()}
        kept = compose(came_in.kept, removed)
        save_pruned(Path(path), self.model, origin, kept, {"plan": self.planned.plan.digest})

    def export(self, path: str | Path, *, opset: int | None = None) -> Exported | ExportedOutputs:
        """Write an ONNX file that was checked on held-out images: its parity, size and score.

        Of a network that is judged by its outputs, the file gives all of them by name, and has a
        parity for each; of a part, it holds the part.

        Args:
            path: of the file; one that is there is replaced.
            opset: version of the ONNX operators, 11 or later; default: the exporter's own.

        Raises:
            GateError: file and network differ; no file is left.
            InputError, UsageError: the network, or its inputs, cannot be exported.
        """
        return export_result(self.part_model, self.given, self.planned, Path(path), opset)

    def report(self, folder: str | Path, *, latency: bool = True) -> Path:
        """Write report.html and report.json as the command does; returns the page.

        Size and latency of ONNX files of both networks are measured for it, in turns; accuracy on
        a test part is left out.

        Args:
            folder: is made where it is missing.
            latency: whether to measure, which takes `bench_seconds` for each network and more.

        Raises:
            InputError: the folder cannot be written to.
        """
        case, place = self.given.case, Path(folder)
        delivered, why = None, tuple[str, ...]()
        if latency:
            delivered, why = time_result(self.part_model, self.given, self.planned)
        name = type(case.model).__name__
        outcome, select = self.outcome, self.given.settings.select
        networks = {id(x): x for x in (case.model, outcome.repaired, outcome.final)}
        with ExitStack() as stack:
            for network in networks.values():
                stack.enter_context(output_hooked(network, self.given.output))
            findings = look_into(case, self.planned, outcome, select, held_out=True)
        done = Finished(
            name,
            replace(self.given.came_in, notes=(*self.warnings, *why)),
            case,
            self.given.settings,
            self.planned,
            outcome,
            delivered,
            self.part,
            MetricLine.of(self.given.metric_name, self.metric) if self.metric else None,
            findings,
        )
        place.mkdir(parents=True, exist_ok=True)
        return write_report(assemble(f"compress({name}, ...)", done), place)[1]
