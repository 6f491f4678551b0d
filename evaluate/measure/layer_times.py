"""Which layers of a network the time of its ONNX file goes to, from ONNX Runtime's own profile.

The profile has the time of every operator of the optimised graph. An operator there may stand for
several of the file: a convolution with its activation, or with the addition after it, is one. It
carries the name of one of them, or that of what it gives. So an operator is given to the layer

- whose weights the file feeds to the operator of that name, or
- whose output reaches that name through pointwise operators (activations, additions) alone, where
  only one layer is left that it can be.

Anything else is not given to a layer: `other` has operators that have no weights (pooling, changes
of the memory's layout), `unsure` those that multiply, but whose layer is not certain.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...export.session import profile_runs
from ...prune.options import BenchOptions
from .environment import num_threads
from .subjects import prepare

PROFILED_RUNS = 50
"""Runs at the most, and seconds after which no more are made."""
PROFILED_SECONDS = 1.0
MULTIPLYING = re.compile(r"(Fused)?(Conv|ConvTranspose|Gemm|MatMul)$")
"""Operators of the optimised graph that take the weights of a layer."""
POINTWISE = frozenset(
    (
        *("Add", "Mul", "Min", "Max", "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh"),
        *("HardSigmoid", "HardSwish", "Elu", "Selu", "Gelu", "Softplus", "BatchNormalization"),
        "Identity",
    )
)
"""Operators that ONNX Runtime joins to the multiplication before them."""
KERNEL_TIME = "_kernel_time"
OPTIMISED = re.compile(r"^fused |(_nchwc)?(_token_\d+)?$")
"""What the optimiser puts around a name."""
WRAPPER = "model."
"""What the exporter puts before the names of a network that it wraps (`LogitsOnly`)."""


@dataclass(frozen=True)
class LayerTimes:
    """How the time of a file's operators divides.

    Attributes:
        share_of: layer -> its share of the time, a fraction.
        other: share of operators without weights.
        unsure: share of operators that multiply, whose layer is not certain.
        num_runs: profiled runs.
    """

    share_of: Mapping[str, float]
    other: float
    unsure: float
    num_runs: int


def layer_times(path: Path, bench: BenchOptions, layers: Collection[str]) -> LayerTimes | None:
    """Profile a file on the CPU.

    Args:
        layers: names of the network's modules, as its weights are called in the file.

    Returns:
        None on another provider: work is only handed over there, so that an operator's time says
        nothing.

    Raises:
        UsageError, InputError: as `prepare`.
    """
    if bench.provider != "cpu":
        return None
    feed = prepare({"model": path}, bench)[0].feed
    runs, events = profile_runs(
        *(path, bench.provider, feed, num_threads(bench)),
        runs=PROFILED_RUNS,
        seconds=PROFILED_SECONDS,
    )
    graph = onnx.load(path, load_external_data=False).graph
    times = _times(events)
    if not sum(times.values()):
        return None
    return divide_times(graph, times, layers, runs)


def _times(events: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """(operator, type) -> microseconds of a run: the mean of the middle half of all runs."""
    found: dict[tuple[str, str], list[float]] = {}
    for event in events:
        name = event["name"]
        if name.endswith(KERNEL_TIME):
            key = (name.removesuffix(KERNEL_TIME), event["args"]["op_name"])
            found.setdefault(key, []).append(event["dur"])
    return {key: _middle(values) for key, values in found.items()}


def _middle(values: list[float]) -> float:
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())


def divide_times(
    graph: onnx.GraphProto,
    times: Mapping[tuple[str, str], float],
    layers: Collection[str],
    num_runs: int,
) -> LayerTimes:
    """Times of operators by layer; see above.

    Args:
        times: (name in the optimised graph, type) -> any unit.
    """
    total = sum(times.values())
    given = _layers_of(graph, [name for name, kind in times if MULTIPLYING.search(kind)], layers)
    share_of: dict[str, float] = {}
    other = unsure = 0.0
    for (name, kind), time in times.items():
        if not MULTIPLYING.search(kind):
            other += time / total
        elif (layer := given.get(name)) is None:
            unsure += time / total
        else:
            share_of[layer] = share_of.get(layer, 0.0) + time / total
    return LayerTimes(share_of, other, unsure, num_runs)


def _layers_of(graph: onnx.GraphProto, names: list[str], layers: Collection[str]) -> dict[str, str]:
    """Names of the optimised graph that belong to one layer for certain, with it."""
    maker = {output: node for node in graph.node for output in node.output}
    maker |= {node.name: node for node in graph.node if node.name}
    layer_of = {
        _key(node): layer for node in graph.node if (layer := _layer(node, layers)) is not None
    }
    candidates = {}
    for name in names:
        node = maker.get(OPTIMISED.sub("", name))
        candidates[name] = set() if node is None else set(_reached(node, maker, layer_of))
    found: dict[str, str] = {}
    taken: set[str] = set()
    while sure := {
        name: next(iter(left))
        for name, ways in candidates.items()
        if name not in found and len(left := ways - taken) == 1
    }:
        if len(set(sure.values())) < len(sure):
            break
        found |= {name: layer_of[key] for name, key in sure.items()}
        taken |= set(sure.values())
    return found


def _key(node: onnx.NodeProto) -> str:
    return str(node.output[0])


def _layer(node: onnx.NodeProto, layers: Collection[str]) -> str | None:
    """The layer whose weight an operator takes."""
    if not MULTIPLYING.search(node.op_type):
        return None
    for name in node.input:
        module, _, leaf = name.rpartition(".")
        for found in (module, module.removeprefix(WRAPPER)):
            if leaf == "weight" and found in layers:
                return str(found)
    return None


def _reached(
    node: onnx.NodeProto, maker: Mapping[str, onnx.NodeProto], layer_of: Mapping[str, str]
) -> Iterator[str]:
    """Operators with weights whose output comes to this one through pointwise operators alone."""
    if _key(node) in layer_of:
        yield _key(node)
    elif node.op_type in POINTWISE:
        for name in node.input:
            if name in maker:
                yield from _reached(maker[name], maker, layer_of)
