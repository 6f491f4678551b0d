"""Metadata of an ONNX file: all that a program needs to feed it and to read its answer.

labels, mean, std, input_size   JSON: names in the order of the outputs; what pixels scaled to
                                0..1 are normalised with; C, H, W
channel_order                   "bgr" where the network takes blue first, and mean and std are so;
                                missing: red first. A graph of raw pixels always takes red first
data                            the data set that the network was trained on
plan                            hash of the plan; "" for a network that was not pruned
source                          SHA-256 of the checkpoint that was pruned; "" if there is none
accuracy                        JSON: {"held_out": {correct, total, top1}, "test": {...}};
                                held_out is that of the file itself, test that of the network
                                it was checked against; what was not measured is missing.
                                With several labels for an image {total, mean_average_precision,
                                micro_f1} stand in their place
fidelity                        in place of accuracy, where nobody labelled the images: {"held_out":
                                {same, total, fidelity}, ...}: images with the answer of the network
                                that was pruned
answer                          how the outputs are read, in words: "the label of the highest
                                output", or which label is there above which number
input_layout, precision         as `variants` and `quantise` wrote it
float_layers                    JSON, of INT8 files: layer -> why it stayed in float
tool                            "prune-dl" and its version
"""

import json
from collections.abc import Mapping
from importlib import metadata as packages
from pathlib import Path

import onnx

from ..prune.inputs.split import DataSet
from ..prune.scores import FIDELITY, Score
from ..prune.scores import Accuracy as Accuracy
from .graph import write_checked

PRODUCT = "prune-dl"
PLAIN_NAMES = (
    *("correct", "same", "total", "top1", "mean_average_precision", "fidelity", "micro_f1"),
)
"""What the entry "accuracy", or "fidelity", has of a score, as far as it has them."""


def describe(data: DataSet, *, plan: str = "", source: str = "") -> dict[str, str]:
    """Everything that is known before the file is written."""
    order = {} if data.channel_order == "rgb" else {"channel_order": data.channel_order}
    return {
        "labels": json.dumps(data.labels),
        "input_size": json.dumps(data.input_size),
        "mean": json.dumps(data.mean),
        "std": json.dumps(data.std),
        "data": data.title,
        "plan": plan,
        "source": source,
        "tool": f"{PRODUCT} {packages.version(PRODUCT)}",
        **order,
    }


def accuracy_entry(scores: Mapping[str, Score]) -> dict[str, str]:
    """The entry "accuracy", or "fidelity", for what each part was measured to have.

    >>> accuracy_entry({"held_out": Accuracy(3, 4)})
    {'accuracy': '{"held_out": {"correct": 3, "total": 4, "top1": 0.75}}'}
    """
    parts = {
        part: {name: score.plain[name] for name in PLAIN_NAMES if name in score.plain}
        for part, score in scores.items()
    }
    is_fidelity = any(score.key == FIDELITY for score in scores.values())
    return {FIDELITY if is_fidelity else "accuracy": json.dumps(parts)}


def read_metadata(path: Path) -> dict[str, str]:
    """The entries of a file."""
    proto = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in proto.metadata_props}


def add_metadata(path: Path, entries: Mapping[str, str]) -> None:
    """Add entries to a file that is there, or replace them; the graph stays as it is."""
    proto = onnx.load(path)
    known = {entry.key: entry.value for entry in proto.metadata_props}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, known | dict(entries))
    write_checked(proto, path)
