"""INT8 files by static quantisation, with the accuracy of the file measured, not assumed.

Activations are 8 bits unsigned, weights 8 bits signed per output channel, written as pairs of
QuantizeLinear and DequantizeLinear around the float operators (QDQ), which every ONNX runtime
understands. Several ways to choose the activation ranges are tried; the most accurate one
on held-out images is taken.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..prune.errors import GateError
from ..prune.progress import Progress, silent
from .graph import write_checked
from .qdq import QuantRecipe, Workbench, layer_names
from .scoring import score_file
from .session import open_session, run_session

RECIPES = (
    QuantRecipe("minmax"),
    QuantRecipe("percentile"),
    QuantRecipe("entropy"),
    QuantRecipe("minmax", weight_bits=7),
    QuantRecipe("percentile", weight_bits=7),
)
"""All three ways that ONNX Runtime chooses ranges, and the two quick ones for processors whose sums
can overflow; which is best differs from network to network."""
LabelledArrays = Sequence[tuple[NDArray[Any], NDArray[np.int64]]]
"""Batches of images, as a graph takes them, and their labels: (N,), or (N, K) of 0 and 1."""


@dataclass(frozen=True)
class Quantisation:
    """How an INT8 file is made.

    Attributes:
        max_drop: accuracy that may be lost, a fraction; a point unless stated.
        recipes: ways to quantise that are tried.
    """

    max_drop: float = 0.01
    recipes: Sequence[QuantRecipe] = RECIPES


@dataclass(frozen=True)
class Quantised:
    """The INT8 form of a float file.

    Attributes:
        recipe: the way of quantising that was chosen, for example "percentile, 8-bit weights".
        float_top1, int8_top1: held-out accuracy of the two files, fractions; mean average precision
            where an image may have several labels, also in `tried`.
        tried: recipe -> held-out accuracy with every layer quantised.
        kept_float: layer -> why it stayed in float.
        num_layers: quantisable layers (convolutions and matrix products) in all.
        size_bytes: of the INT8 file.
    """

    recipe: str
    float_top1: float
    int8_top1: float
    tried: dict[str, float]
    kept_float: dict[str, str]
    num_layers: int
    size_bytes: int


def quantise_file(
    source: Path,
    path: Path,
    calibration: NDArray[Any],
    held_out: LabelledArrays,
    quantisation: Quantisation,
    *,
    progress: Progress = silent,
) -> Quantised:
    """Write the INT8 form of the float file `source`; return what it costs.

    If the best recipe loses more than the accuracy allowed, layers go back to float one after the
    other, the one that moves the outputs most when it alone is quantised first.

    Args:
        calibration: (N, ...) real images as the graph takes them, held out from training.
        held_out: (images, labels) batches that decide between recipes; not the test set.

    Raises:
        GateError: even with one quantised layer left more than that is lost.
    """
    recipes = quantisation.recipes
    with TemporaryDirectory(prefix="prune-dl-int8-") as folder:
        bench = Workbench(source, calibration, Path(folder))
        float_top1 = _accuracy(source, held_out)
        tried: dict[QuantRecipe, float] = {}
        for recipe in recipes:
            tried[recipe] = _accuracy(bench.build(recipe), held_out)
            progress(len(tried), len(recipes) + 1)
        best = max(recipes, key=lambda recipe: tried[recipe])
        result, kept_float = bench.build(best), dict[str, str]()
        int8_top1 = tried[best]
        floor = float_top1 - quantisation.max_drop
        if float_top1 - int8_top1 > quantisation.max_drop:
            result, int8_top1, kept_float = _rescue(bench, best, held_out, floor)
        progress(len(recipes) + 1, len(recipes) + 1)
        _finish(result, source, path, best, kept_float)
    return Quantised(
        recipe=str(best),
        float_top1=float_top1,
        int8_top1=int8_top1,
        tried={str(recipe): top1 for recipe, top1 in tried.items()},
        kept_float=kept_float,
        num_layers=len(bench.layers),
        size_bytes=path.stat().st_size,
    )


def _rescue(
    bench: Workbench, recipe: QuantRecipe, held_out: LabelledArrays, floor: float
) -> tuple[Path, float, dict[str, str]]:
    """Leave the costliest layers in float until the accuracy is back above `floor`."""
    damage = layer_damage(bench, recipe)
    names = layer_names(bench.proto)
    kept: dict[str, str] = {}
    excluded: list[str] = []
    top1 = 0.0
    for node in sorted(damage, key=lambda node: (-damage[node], node))[:-1]:
        excluded.append(node)
        kept[names[node]] = f"alone in INT8 it moves the outputs by {damage[node]:.1%}"
        result = bench.build(recipe, skip=tuple(excluded))
        top1 = _accuracy(result, held_out)
        if top1 >= floor:
            return result, top1, kept
    raise GateError(
        f"{bench.source.name}: INT8 reaches {top1:.1%} on held-out images; expected {floor:.1%} at "
        "least; give a larger `max_drop`, or take the float file"
    )


def layer_damage(bench: Workbench, recipe: QuantRecipe) -> dict[str, float]:
    """Node -> relative L2 change of the outputs on the calibration images, it alone in INT8."""
    float_NK = run_session(open_session(bench.source), bench.calibration).astype(np.float64)
    damage = {}
    for node in bench.layers:
        others = tuple(other for other in bench.layers if other != node)
        session = open_session(bench.build(recipe, skip=others))
        change_NK = run_session(session, bench.calibration) - float_NK
        damage[node] = float(np.linalg.norm(change_NK) / np.linalg.norm(float_NK))
    return damage


def _accuracy(path: Path, held_out: LabelledArrays) -> float:
    return score_file(open_session(path), held_out).value


def _finish(
    result: Path, source: Path, path: Path, recipe: QuantRecipe, kept_float: Mapping[str, str]
) -> None:
    """The finished file under its name, with the metadata of the float file."""
    proto = onnx.load(result)
    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    metadata |= {"precision": f"int8 ({recipe})", "float_layers": json.dumps(dict(kept_float))}
    proto.producer_name = "prune-dl"
    _drop_unused_domains(proto)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata)
    write_checked(proto, path)


def _drop_unused_domains(proto: onnx.ModelProto) -> None:
    """ONNX Runtime's quantiser names every domain that it knows; older runtimes refuse them."""
    used = {node.domain for node in proto.graph.node} | {""}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
