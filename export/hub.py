"""A folder ready for the Hugging Face Hub: weights, ONNX files, configuration, a card of facts.

Nothing is uploaded; `hf upload NAME FOLDER` is the user's own command.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from ..prune.errors import InputError, UsageError
from ..prune.files import read_bytes, whole_folder, write_text
from ..prune.inputs.origin import MAX_LABELS
from ..prune.typed import from_json
from .hub_card import make_card
from .hub_report import ReportDocument

NEEDED = ("model.safetensors", "model.onnx", "report.json")


def write_hub_folder(run: Path, folder: Path) -> Path:
    """Turn a run folder into a folder for the Hub; it appears complete or not at all.

    It holds model.safetensors, every ONNX file of the run, config.json, report.json and README.md,
    whose figures all come from report.json.

    Args:
        run: output folder of a finished job.
        folder: must not exist, or be empty.

    Raises:
        InputError: the run folder is not complete, or the folder cannot be written to.
        UsageError: the folder is in use.
    """
    missing = [name for name in NEEDED if not (run / name).is_file()]
    if missing:
        raise InputError(
            f"{run} given; expected the output folder of a finished run, and {', '.join(missing)} "
            "is not in it; give another folder, or run the job again"
        )
    check_hub_folder(folder)
    report = _read_report(run / "report.json")
    with whole_folder(folder) as partial:
        _fill(partial, run, report)
    return folder


def check_hub_folder(folder: Path) -> None:
    """Raises UsageError when the folder holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"`hub_folder={folder}` given, which is not empty; expected a new or an empty folder; "
            "give another name"
        )


def _read_report(path: Path) -> ReportDocument:
    """What config and card are made from.

    Raises:
        InputError: it is no report of a run.
    """
    report = from_json(read_bytes(path), ReportDocument, str(path))
    labels, count = report["model"].get("labels") or (), report["model"].get("num_labels") or 0
    if not 0 <= count <= MAX_LABELS or len(labels) not in (0, count):
        raise InputError(f"{path} is of {count} labels and names {len(labels)}; run the job again")
    return report


def _fill(folder: Path, run: Path, report: ReportDocument) -> None:
    files = ["model.safetensors", "report.json", *sorted(p.name for p in run.glob("*.onnx"))]
    for name in files:
        shutil.copyfile(run / name, folder / name)
    write_text(folder / "config.json", json.dumps(make_config(report), indent=1) + "\n")
    write_text(folder / "README.md", make_card(report, files))


def make_config(report: ReportDocument) -> dict[str, Any]:
    """What a program needs to feed the network and to read its answer, and the kept widths."""
    model = report["model"]
    labels = model.get("labels") or [str(i) for i in range(model.get("num_labels") or 0)]
    of_labels = {
        "num_labels": model.get("num_labels"),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    part = model.get("part")
    return {
        "architecture": model.get("arch"),
        **({} if "output_fidelity" in report else of_labels),
        **({"pruned_part": part} if part else {}),
        "input_size": model.get("input_size"),
        "image_mean": model.get("mean"),
        "image_std": model.get("std"),
        **({"channel_order": "bgr"} if model.get("channel_order") == "bgr" else {}),
        "widths": {layer["name"]: layer["num_kept"] for layer in report.get("layers") or []},
        "library_name": "prune-dl",
    }
