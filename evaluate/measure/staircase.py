"""The latency staircase: a layer's time does not fall smoothly with its width.

Processors work on filters in blocks, so a width just above a step costs as much as the whole next
step. A width is efficient when every larger efficient one is slower by more than `MARGIN`; any
other width can be rounded up to an efficient one, which gives filters back for next to nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...prune.errors import InputError
from ...prune.files import read_bytes, write_json
from ...prune.options import BenchOptions
from ...prune.progress import Progress, silent
from ...prune.typed import from_json
from .environment import describe_environment, num_threads
from .latency import time_interleaved
from .subjects import prepare

OPSET, IR_VERSION = 18, 9
MARGIN = 0.03
"""Share of a latency that counts as nothing. Two widths of one block differ by 1 % from noise; two
neighbours of sixteen steps, the most that `widths` measures, by 6 % where latency follows width."""


MIN_RUNS_PER_WIDTH = 50
"""Least runs of each width: of so many, the median of a layer that takes 10 % more or less from run
to run moves by 2 %, less than `MARGIN`."""


@dataclass(frozen=True)
class LayerShape:
    """A convolution with a ReLU after it, everything but its width (number of filters)."""

    in_channels: int
    height: int
    width: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Staircase:
    """Median latency of a layer at several widths, on one machine.

    Attributes:
        widths: numbers of filters, ascending.
        latency_ms: median milliseconds at each width.
    """

    widths: tuple[int, ...]
    latency_ms: tuple[float, ...]

    @property
    def efficient(self) -> tuple[int, ...]:
        """Widths that save time against every larger one, ascending; the largest is always one.

        >>> Staircase((8, 12, 16, 24, 32), (1.0, 1.99, 2.0, 3.0, 4.0)).efficient
        (8, 16, 24, 32)
        """
        best, found = float("inf"), []
        for width, latency in zip(reversed(self.widths), reversed(self.latency_ms), strict=True):
            if latency < best * (1 - MARGIN):
                best = latency
                found.append(width)
        return tuple(reversed(found))


def measure_staircase(
    shape: LayerShape,
    widths: Sequence[int],
    bench: BenchOptions,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Staircase:
    """Time the layer at every width, in turns, on random weights.

    Args:
        widths: numbers of filters; sorted, each counted once.
        bench: provider, images per run, threads, and the least time for each width.
        cache: folder of earlier measurements; None is `cache_folder()`. The key holds the
            processor, the versions, the provider, the threads, the batch and the shape.

    Raises:
        UsageError: the provider would not really be used.
        InputError: the cache cannot be written to.
    """
    widths = sorted(set(widths))
    setting = {
        "provider": bench.provider,
        "batch_size": bench.latency_batch,
        "threads": num_threads(bench),
    }
    file = (cache or cache_folder()) / f"{_key(shape, widths, setting)}.json"
    if (known := _read(file)) is not None:
        return known
    with TemporaryDirectory(prefix="prune-dl-staircase-") as folder:
        files = {str(w): _write_layer(shape, w, Path(folder) / f"{w}.onnx") for w in widths}
        runs = {s.name: s.run for s in prepare(files, bench) if s.name in files}
        times = time_interleaved(
            runs, seconds=bench.bench_seconds, min_runs=MIN_RUNS_PER_WIDTH, progress=progress
        )
    staircase = Staircase(
        tuple(widths), tuple(float(np.median(times[str(width)])) for width in widths)
    )
    _write(file, staircase, setting)
    return staircase


def cache_folder() -> Path:
    """Where measurements of this machine are kept: the system's place for caches of a user.

    On Linux that is XDG_CACHE_HOME, or else ~/.cache.
    """
    from platformdirs import user_cache_path

    return user_cache_path("prune-dl", appauthor=False) / "staircase"


def _key(shape: LayerShape, widths: Sequence[int], setting: Mapping[str, Any]) -> str:
    facts = [asdict(shape), list(widths), dict(setting), describe_environment()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _read(file: Path) -> Staircase | None:
    """A damaged file counts as none: it is measured again and replaced."""
    try:
        known = from_json(read_bytes(file), Staircase, str(file))
    except InputError:
        return None
    figures = (*known.widths, *known.latency_ms)
    is_whole = len(known.widths) == len(known.latency_ms) and min(figures, default=0) > 0
    return known if is_whole else None


def _write(file: Path, staircase: Staircase, setting: Mapping[str, Any]) -> None:
    document = asdict(staircase) | dict(setting) | {"environment": describe_environment()}
    write_json(file, document)


def _write_layer(shape: LayerShape, width: int, path: Path) -> Path:
    """One convolution and its ReLU as an ONNX file with a free batch size."""
    size = (width, shape.in_channels, shape.kernel, shape.kernel)
    weight_ = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    dims: list[Any] = ["batch", shape.in_channels, shape.height, shape.width]
    pad = shape.kernel // 2
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[pad] * 4, strides=[shape.stride] * 2),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", width, None, None])],
        [numpy_helper.from_array(weight_, "w")],
    )
    opset = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION), path)
    return path
