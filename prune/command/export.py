"""`prune-dl export`: one checked ONNX file of a network, or a run made ready for the Hub."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...export.checked import Exported, export_checked
from ...export.hub import write_hub_folder
from ...export.metadata import accuracy_entry, add_metadata, describe
from ...export.opset import require_opset
from ...export.quantise import Quantisation
from ...export.scoring import score_file
from ...export.session import open_session
from ...export.variants import PixelScale, Variant, to_pixels
from ..errors import UsageError
from ..folder import check_writable
from ..inputs.checkpoint import Checkpoint
from ..inputs.pruned_file import is_pruned_file, read_pruned_file
from ..inputs.split import DataSet
from ..lock import only_writer
from .opening import default_out, model_file, open_case
from .run_log import log_of, stages_of
from .trees import Export

TEST_BATCH = 500


def export_file(options: Export) -> dict[str, Any]:
    """`prune-dl export`: one checked ONNX file, and what the check found."""
    out = options.run.out or default_out(options.network.model).with_suffix(".onnx")
    require_opset(options.opset, int8=options.int8)
    with only_writer(out):
        check_writable(out)
        return _export_to(out, options)


def _export_to(out: Path, options: Export) -> dict[str, Any]:
    """Write the file, and measure it."""
    log = log_of(options.run, stages_of(options))
    checkpoint, case = open_case(options.network, options.data, options.run, log)
    data = case.data
    variant = Variant(
        opset=options.opset,
        batch_size=options.static_batch,
        embed_preprocess=options.embed_preprocess,
        half=options.fp16,
    )
    with log.stage("export") as progress:
        exported = export_checked(
            checkpoint.model.cpu(),
            data,
            out,
            variant,
            metadata=describe(data, **_history(options.network.model, checkpoint)),
            quantisation=Quantisation(options.max_drop / 100) if options.int8 else None,
            progress=progress,
        )
    result = _result(exported)
    if options.test:
        with log.stage("test"):
            result |= _test(exported, data, variant)
    return result


def _history(model: str, checkpoint: Checkpoint) -> dict[str, str]:
    """Hashes of the plan and of the checkpoint that was pruned, as far as the file knows them."""
    path = Path(model_file(model))
    notes = read_pruned_file(path).notes if path.is_file() and is_pruned_file(path) else {}
    source = notes.get("source") or checkpoint.sha256 or ""
    return {"plan": notes.get("plan", ""), "source": source}


def _result(exported: Exported) -> dict[str, Any]:
    """One flat row for each thing that was found out, INT8 layers in float with their reason."""
    parity = asdict(exported.parity)
    if exported.quantised is not None:
        del parity["tolerance"]
    result = {
        "file": str(exported.path),
        "size_bytes": exported.size_bytes,
        f"held_out_{exported.score.key}": exported.score.value,
        "held_out_images": exported.score.total,
        **parity,
    }
    if (int8 := exported.quantised) is not None:
        result |= {"int8_recipe": int8.recipe, f"float_{exported.score.key}": int8.float_top1}
        result |= {
            f"held_out_{exported.score.key} of {name}": top1 for name, top1 in int8.tried.items()
        }
        result |= {"int8_layers": int8.num_layers - len(int8.kept_float)}
        result |= {f"float: {layer}": why for layer, why in int8.kept_float.items()}
    return result


def _test(exported: Exported, data: DataSet, variant: Variant) -> dict[str, Any]:
    """Score of the finished file on the test part; also added to the file's metadata."""
    session = open_session(exported.path)
    scale = PixelScale.of(data)
    batches = (
        (to_pixels(images, scale) if variant.embed_preprocess else images, labels)
        for images, labels in data.test.batches(TEST_BATCH, device="cpu")
    )
    arrays = ((inputs.numpy(), labels.numpy()) for inputs, labels in batches)
    variant = replace(variant, multi_label=data.multi_label)
    score = score_file(session, arrays, threshold=variant.rule.threshold, of_answers=data.unlabeled)
    add_metadata(exported.path, accuracy_entry({"held_out": exported.score, "test": score}))
    ends = {"test_low": score.low, "test_high": score.high}
    size = {"size_bytes": exported.path.stat().st_size}
    return {f"test_{score.key}": score.value, **ends, "test_images": score.total, **size}


def export_hub_folder(options: Export) -> dict[str, Any]:
    """`prune-dl export --hub-folder`: a finished run, ready to be uploaded by its owner.

    Raises:
        UsageError: the folder is in use, or flags were given that only one new file can follow.
        InputError: `--model` is not the folder of a finished run.
    """
    assert options.hub_folder is not None
    plain = Export(network=options.network, data=options.data, hub_folder=options.hub_folder)
    if replace(options, run=plain.run) != plain or options.run.out:
        raise UsageError(
            "`hub_folder` copies the files of a run as they are; give it without `out` and "
            "without the flags of a new file"
        )
    with only_writer(options.hub_folder, "hub_folder"):
        folder = write_hub_folder(Path(options.network.model), options.hub_folder)
    return {"folder": str(folder), "files": ", ".join(sorted(p.name for p in folder.iterdir()))}
