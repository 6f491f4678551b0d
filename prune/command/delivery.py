"""What a run leaves behind: the network, its ONNX file, and what was measured on them."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ...evaluate.measure.accuracy import measure_score
from ...evaluate.measure.answers import compare_answers
from ...evaluate.measure.latency import compare
from ...evaluate.measure.layer_times import layer_times
from ...evaluate.report.label_change import LabelChange, label_change
from ...export.checked import export_checked
from ...export.graph import export_onnx
from ...export.metadata import accuracy_entry, add_metadata, describe
from ...export.parity import PARITY_IMAGES, AnswerRule, check_parity
from ...export.variants import Variant
from ..inputs.checkpoint import Checkpoint
from ..inputs.pruned_file import compose, save_pruned
from ..job.account import Delivered
from ..job.findings import scale_of
from ..job.known import Case, Planned
from ..job.stages import Outcome
from ..options import BenchOptions
from ..progress import Progress, silent
from ..scores import Score

REMOVED_IMAGES = 2000
"""Test images for the network that was neither repaired nor retrained."""


def save_result(
    folder: Path, checkpoint: Checkpoint, case: Case, planned: Planned, network: nn.Module
) -> None:
    """Write model.safetensors: weights, kept filters and origin, so that `load` rebuilds it."""
    data = case.data
    origin = replace(
        checkpoint.origin,
        data=data.title,
        labels=data.labels,
        input_size=data.input_size,
        mean=data.mean,
        std=data.std,
        cut=planned.depth or checkpoint.origin.cut,
        channel_order=data.channel_order,
    )
    kept = planned.cut.kept
    kept = compose(checkpoint.kept, kept) if checkpoint.kept else kept
    notes = {"plan": planned.plan.digest, "source": checkpoint.sha256 or ""}
    save_pruned(folder / "model.safetensors", network, origin, kept, notes)


@dataclass(frozen=True)
class Files:
    """Where the ONNX files of a run go, and what kind they are.

    Attributes:
        source: SHA-256 of the checkpoint, for their metadata.
    """

    folder: Path
    source: str
    variant: Variant


def deliver_networks(
    case: Case, planned: Planned, outcome: Outcome, bench: BenchOptions, files: Files
) -> Delivered:
    """Export, check and time both networks, and read the test part, once.

    Args:
        case: the network that came in.
    """
    data, log = case.data, case.log
    folder, variant = files.folder, files.variant
    original = folder / "original.onnx"
    with log.stage("export"):
        export_onnx(case.model, data.input_size, original, metadata={}, opset=variant.opset)
        images, _ = next(iter(data.held_out.batches(PARITY_IMAGES, device=case.device)))
        check_parity(original, case.model, images, rule=AnswerRule(data.multi_label))
        metadata = describe(data, plan=planned.plan.digest, source=files.source)
        file = export_checked(
            outcome.final, data, folder / "model.onnx", variant, metadata=metadata
        )
    with log.stage("evaluate") as progress:
        accuracy, change = measure_stages(case, outcome, progress)
    for stage, value in accuracy.items():
        log.log({"stage": stage, f"test_{value.key}": value.value, "images": value.total})
    add_metadata(file.path, accuracy_entry({"held_out": file.score, "test": accuracy["final"]}))
    with log.stage("benchmark") as progress:
        comparison = compare({"original": original, "model": file.path}, bench, progress=progress)
        layers = [name for name, _ in outcome.final.named_modules()]
        times = layer_times(file.path, bench, layers)
    original.unlink()
    return Delivered(accuracy, file, comparison, change, times)


def measure_stages(
    case: Case, outcome: Outcome, progress: Progress = silent
) -> tuple[dict[str, Score], LabelChange | None]:
    """Test accuracy of the network of every stage, and what became of every label from the first to
    the last; a network that two stages share counts once.

    The network that was neither repaired nor retrained is seldom better than chance: it is measured
    on a seeded part of the test images, whose number the report and its interval state.
    """
    networks = {
        "original": case.model,
        "repaired": outcome.repaired,
        "final": outcome.final,
        "removed": outcome.removed,
    }
    test, both = case.data.test, (case.model, outcome.final)
    alone = {id(x): name for name, x in reversed(networks.items()) if all(x is not y for y in both)}
    num_removed = min(REMOVED_IMAGES, test.num_images)
    limits = {name: num_removed if name == "removed" else None for name in alone.values()}
    total = test.num_images + sum(limit or test.num_images for limit in limits.values())
    compared = compare_answers(
        *both, test, device=case.device, progress=lambda images, _: progress(images, total)
    )
    known: dict[int, Score] = {id(outcome.final): compared.final, id(case.model): compared.original}
    done = test.num_images
    for name, limit in limits.items():
        network, before = networks[name], done

        def so_far(images: int, of: int, before: int = before) -> None:
            progress(before + images, total)

        score = measure_score(network, test, device=case.device, limit=limit, progress=so_far)
        known[id(network)], done = score, done + score.total
    change = label_change(compared, case.shown_labels, "test", scale_of(case.data))
    return {name: known[id(network)] for name, network in networks.items()}, change
