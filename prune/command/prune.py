"""One run from options to a finished output folder: the thin edge around `pipeline`."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ...evaluate.measure.accuracy import Accuracy, measure_accuracy
from ...evaluate.measure.latency import compare
from ...evaluate.report.files import write_report
from ...evaluate.report.report import Report
from ...export.checked import export_checked
from ...export.graph import export_onnx
from ...export.hub import check_hub_folder, write_hub_folder
from ...export.metadata import accuracy_entry, add_metadata, describe
from ...export.parity import PARITY_IMAGES, check_parity
from ...export.session import require_provider
from ...export.variants import Variant
from ..errors import GateError, InputError, UsageError
from ..folder import CHECKPOINT, Diary, output_folder
from ..inputs import pruned_file as recipe
from ..inputs.checkpoint import Checkpoint, load_checkpoint
from ..inputs.data import open_data
from ..inputs.split import DataSet
from ..job.account import Delivered, assemble
from ..job.latency_budget import drift_notes
from ..job.plan import Planned
from ..job.stages import Outcome
from ..job.steps import plan_and_carry_out
from ..options import BenchOptions, DataOptions, Job, NetworkOptions, RunOptions
from ..structure.cut import Cut
from ..training.device import pick_device
from .options_file import to_tables

REMOVED_IMAGES = 2000
"""Test images for the network that was neither repaired nor retrained."""
LATENCY_TOLERANCE = 0.02


def open_inputs(
    network: NetworkOptions, images: DataOptions, run: RunOptions, diary: Diary
) -> tuple[Checkpoint, DataSet, torch.device]:
    """The network, its data and the device of a command.

    Raises:
        UsageError: no data given and the file names none, or the device is missing.
        InputError: a file cannot be used, or network and data disagree on the labels.
    """
    device = pick_device(run.device)
    with diary.stage("load"):
        checkpoint = load_checkpoint(
            model_file(network.model),
            arch=network.arch,
            num_labels=network.num_labels,
            trust_pickle=network.trust_pickle,
        )
        data = open_data_of(network.model, images, run.seed, checkpoint)
    check_fit(data, checkpoint)
    checkpoint.model.to(device).to(memory_format=torch.channels_last).eval()
    return checkpoint, data, device


def model_file(model: str) -> str:
    """A run's folder stands for the network in it."""
    inside = Path(model) / "model.safetensors"
    return str(inside) if inside.is_file() else model


def open_data_of(model: str, images: DataOptions, seed: int, checkpoint: Checkpoint) -> DataSet:
    """The data of `--data`, or else the data that the model file names, fed as it says."""
    origin = checkpoint.origin
    spec = images.data or origin.data
    if spec is None:
        raise UsageError(
            f"--model {model} does not say what it was trained on; "
            "add --data with a folder of images, cifar10, cifar100, fashion-mnist or digits"
        )
    known = origin if checkpoint.knows_inputs else None
    size = images.input_size
    square = (num_channels(checkpoint.model), size, size) if size else None
    return open_data(
        spec,
        input_size=square or (known.input_size if known else None),
        mean=images.mean or (known.mean if known else None),
        std=images.std or (known.std if known else None),
        held_out=images.held_out,
        seed=seed,
    )


def num_channels(model: nn.Module) -> int:
    """Channels of an image, as the first convolution takes them; 3 where there is none."""
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def check_fit(data: DataSet, checkpoint: Checkpoint) -> None:
    """Network and data must agree on the number of labels and of channels."""
    pairs = (
        ("labels", checkpoint.origin.num_labels, len(data.labels)),
        ("channels", num_channels(checkpoint.model), data.input_size[0]),
    )
    for what, expected, given in pairs:
        if expected != given:
            raise InputError(
                f"the network has {expected} {what} and --data {data.name} has {given}; "
                "give the data that the network was trained on"
            )


def run_job(options: Job, command: str) -> tuple[Report, Outcome]:
    """Do the whole job; the output folder appears when everything in it is finished."""
    out = options.run.out or default_out(options.network.model)
    require_provider(options.bench.provider)
    if options.select.hardware_widths:
        require_provider(options.select.hardware_widths, "hardware_widths")
    if options.hub_folder:
        check_hub_folder(options.hub_folder)
    with output_folder(out, resume=options.run.resume) as folder:
        diary = Diary(show=True, file=folder / "metrics.jsonl")
        checkpoint, data, device = open_inputs(options.network, options.data, options.run, diary)
        outcome, planned, delivered = _work(options, checkpoint, data, device, folder, diary)
        diary.warnings += drift_notes(planned.reference_ms, delivered.comparison)
        report = assemble(command, options, checkpoint, data, planned, outcome, delivered, diary)
        write_report(report, folder)
        text = json.dumps({"command": command, "options": to_tables(options)}, indent=1)
        (folder / "run.json").write_text(text, encoding="utf-8")
    if options.hub_folder:
        write_hub_folder(out, options.hub_folder)
    return report, outcome


def _work(
    options: Job,
    checkpoint: Checkpoint,
    data: DataSet,
    device: torch.device,
    folder: Path,
    diary: Diary,
) -> tuple[Outcome, Planned, Delivered]:
    if options.select.cut_depth and (checkpoint.kept or checkpoint.origin.cut):
        raise UsageError(
            f"--cut-depth given for {options.network.model}, which was pruned already; "
            "give the network that it was made from"
        )
    planned, outcome = plan_and_carry_out(
        checkpoint.model,
        data,
        options.select,
        options.retrain,
        device=device,
        seed=options.run.seed,
        diary=diary,
        checkpoint=folder / CHECKPOINT,
        bench=options.bench,
    )
    (folder / "plan.json").write_text(planned.plan.to_json(), encoding="utf-8")
    save_network(folder, checkpoint, data, planned, outcome)
    delivered = deliver(
        checkpoint.model,
        outcome,
        data,
        planned,
        options.bench,
        folder,
        diary,
        source=checkpoint.sha256 or "",
    )
    return outcome, planned, delivered


def save_network(
    folder: Path, checkpoint: Checkpoint, data: DataSet, planned: Planned, outcome: Outcome
) -> None:
    """Write model.safetensors: weights, kept filters and origin, so that `load` rebuilds it."""
    origin = replace(
        checkpoint.origin,
        data=data.name,
        labels=data.labels,
        input_size=data.input_size,
        mean=data.mean,
        std=data.std,
        cut=planned.cut or checkpoint.origin.cut,
    )
    kept = Cut(planned.structure, planned.plan).kept
    kept = recipe.compose(checkpoint.kept, kept) if checkpoint.kept else kept
    notes = {"plan": planned.plan.digest, "source": checkpoint.sha256 or ""}
    recipe.save(folder / "model.safetensors", outcome.final, origin, kept, notes)


def deliver(
    model: nn.Module,
    outcome: Outcome,
    data: DataSet,
    planned: Planned,
    bench: BenchOptions,
    folder: Path,
    diary: Diary,
    source: str,
) -> Delivered:
    """Export, check and time both networks, and read the test part, once.

    Args:
        source: SHA-256 of the checkpoint, for the file's metadata.
    """
    device = next(model.parameters()).device
    original = folder / "original.onnx"
    with diary.stage("export"):
        export_onnx(model, data.input_size, original, metadata={})
        images, _ = next(iter(data.held_out.batches(PARITY_IMAGES, device=device)))
        check_parity(original, model, images)
        metadata = describe(data, plan=planned.plan.digest, source=source)
        file = export_checked(
            outcome.final, data, folder / "model.onnx", Variant(), metadata=metadata
        )
    with diary.stage("evaluate"):
        accuracy = measure_stages(model, outcome, data, device)
    for stage, value in accuracy.items():
        diary.log({"stage": stage, "test_top1": value.top1, "images": value.total})
    test = accuracy["final"]
    counts = {"held_out": (file.correct, file.total), "test": (test.correct, test.total)}
    add_metadata(file.path, accuracy_entry(counts))
    with diary.stage("benchmark") as progress:
        comparison = compare({"original": original, "model": file.path}, bench, progress=progress)
    original.unlink()
    return Delivered(accuracy, file, comparison)


def measure_stages(
    model: nn.Module, outcome: Outcome, data: DataSet, device: torch.device
) -> dict[str, Accuracy]:
    """Test accuracy of the network of every stage; a network that two stages share counts once.

    The network that was neither repaired nor retrained is seldom better than chance: it is measured
    on a seeded part of the test images, whose number the report and its interval state.
    """
    networks = {
        "original": model,
        "repaired": outcome.repaired,
        "final": outcome.final,
        "removed": outcome.removed,
    }
    known: dict[int, Accuracy] = {}
    for name, network in networks.items():
        if id(network) not in known:
            limit = REMOVED_IMAGES if name == "removed" else None
            known[id(network)] = measure_accuracy(network, data.test, device=device, limit=limit)
    return {name: known[id(network)] for name, network in networks.items()}


def check_drop(options: Job, outcome: Outcome) -> None:
    """The gate of `--max-drop`, in points of held-out accuracy."""
    drop = 100 * (outcome.held_out["original"].top1 - outcome.held_out["final"].top1)
    if options.select.max_drop is not None and drop > options.select.max_drop:
        raise GateError(
            f"held-out accuracy fell by {drop:.2f} points, more than --max-drop "
            f"{options.select.max_drop}; keep more filters or retrain for longer"
        )


def check_latency(options: Job, report: Report) -> None:
    """The gate of `--latency-ms`, on what the budget was searched with (see `latency_budget`).

    That is the latency of the original at the start over the ratio of the final benchmark, in
    which both files took turns.
    """
    most = options.select.latency_ms
    bench, ratio = report.benchmark, report.latency_ratio
    if most is None or bench is None or bench.reference_ms is None or ratio is None:
        return
    final_ms = bench.reference_ms / ratio.value
    if final_ms > most * (1 + LATENCY_TOLERANCE):
        raise GateError(
            f"the final file takes {final_ms:.3g} ms, more than --latency-ms {most:g}; "
            "ask for less, or measure on a quiet machine"
        )


def default_out(model: str) -> Path:
    """Where results go when `--out` does not say: runs/, and the name of the network."""
    return Path("runs") / Path(model.replace(":", "-")).stem
