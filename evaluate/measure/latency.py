"""How long ONNX files take, measured in turns, so that a drift of the machine hits all alike.

Protocol (after NVIDIA's trtexec and MLPerf): every file is warmed up for at least 200 ms; then the
files take turns, A/B/A/B, each turn one run that is not counted (it refills the caches) and five
that are, until every file has at least `min_runs` runs and `seconds` seconds.

Shapes: T turns, R runs within a turn.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...prune.errors import UsageError
from ...prune.options import BenchOptions
from ...prune.progress import Progress, silent
from .environment import describe_environment, num_threads
from .latency_stats import Times, ratio_of_medians, summarise_times
from .memory import peak_memory
from .subjects import Subject, file_bytes, prepare

WARM_UP_SECONDS = 0.2
"""As trtexec of NVIDIA warms up unless told otherwise."""
MIN_RUNS = 100
"""Least runs of each file, unless the caller gives another number: with fewer, the 99th percentile
would be little more than the slowest run."""
RUNS_PER_TURN = 5
"""Few, so that turns of two files are close in time, yet the uncounted run is a small part."""
NOISY_ABOVE = 0.10
"""Standard deviation over mean above which a measurement is called noisy."""
Inference = Callable[[], object]
"""Runs a file once; its outputs are ready when it returns."""


@dataclass(frozen=True)
class LatencyRow:
    """What was measured for one file.

    Attributes:
        name: of the file, as the caller named it; "NAME + copies" where copies are included.
        provider: the ONNX Runtime provider really used.
        batch_size, threads: images per run, worker threads inside an operator.
        p50_ms, p90_ms, p99_ms, mean_ms, std_ms: of one run, milliseconds.
        variation: std_ms / mean_ms.
        num_runs: timed runs.
        images_per_second: batch_size over the mean run time.
        ratio, ratio_low, ratio_high: p50 of the first file over p50 of this one (2.0 is twice as
            fast as the first file) and its 95 % bootstrap interval.
        size_bytes: of the file, and of the side files that hold its weights.
        session_ms: to open the file once, optimisation of the graph included.
        peak_memory_bytes: largest resident memory of a process that does nothing but open this
            file and run it (see `memory`); None where the system does not say.
    """

    name: str
    provider: str
    batch_size: int
    threads: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float
    variation: float
    num_runs: int
    images_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    size_bytes: int
    session_ms: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of the files; the ratio is that of the last file to the first.

    Attributes:
        rows: one a file, and one more a file with copies to the device and back on a GPU.
        ratio, ratio_low, ratio_high: first p50 over last p50, with its 95 % interval.
        noisy: whether a row varies by more than 10 % (`NOISY_ABOVE`).
        environment: processor, cores, versions.
    """

    rows: tuple[LatencyRow, ...]
    ratio: float
    ratio_low: float
    ratio_high: float
    noisy: bool
    environment: Mapping[str, str]


def compare(
    files: Mapping[str, Path],
    bench: BenchOptions,
    *,
    input_size: tuple[int, ...] | None = None,
    min_runs: int = MIN_RUNS,
    progress: Progress = silent,
) -> Comparison:
    """Time the files against each other; the first one is what the ratios refer to.

    Args:
        files: name -> ONNX file, also of other tools.
        bench: provider, images per run, threads, and the least time for each file.
        input_size: of one image, needed only for graphs that leave it open.
        min_runs: least runs of each file.

    Raises:
        UsageError: no file; a provider that would not really be used; a batch size the graph
            does not take.
        InputError: a file that ONNX Runtime cannot open.
    """
    if not files:
        raise UsageError("no file given; expected at least one .onnx file to time")
    subjects = prepare(files, bench, input_size)
    runs = {subject.name: subject.run for subject in subjects}
    times = time_interleaved(
        runs, seconds=bench.bench_seconds, min_runs=min_runs, progress=progress
    )
    base_TR = next(iter(times.values()))
    threads = num_threads(bench)
    memory = {s.path: peak_memory(s.path, bench.provider, threads, s.feed) for s in subjects}
    rows = tuple(_row(s, times[s.name], base_TR, bench, memory[s.path]) for s in subjects)
    last = next(row for row in reversed(rows) if row.name in files)
    noisy = any(row.variation > NOISY_ABOVE for row in rows)
    ratio = (last.ratio, last.ratio_low, last.ratio_high)
    return Comparison(rows, *ratio, noisy, describe_environment())


def time_interleaved(
    runs: Mapping[str, Inference], *, seconds: float, min_runs: int, progress: Progress = silent
) -> dict[str, Times]:
    """Milliseconds (T, R) of every call, taken in turns; the same T for all of them."""
    for run in runs.values():
        _warm_up(run)
    turns: dict[str, list[list[float]]] = {name: [] for name in runs}
    spent = dict.fromkeys(runs, 0.0)
    min_turns = math.ceil(min_runs / RUNS_PER_TURN)
    done = 0
    while done < min_turns or min(spent.values()) < seconds:
        for name, run in runs.items():
            turns[name].append(_time_turn(run))
            spent[name] += sum(turns[name][-1]) / 1e3
        done += 1
        share = min(done / min_turns, min(spent.values()) / seconds if seconds else 1.0)
        progress(round(min(share, 1.0) * 100), 100)
    return {name: np.array(times) for name, times in turns.items()}


def _warm_up(run: Inference) -> None:
    end = time.perf_counter() + WARM_UP_SECONDS
    run()
    while time.perf_counter() < end:
        run()


def _time_turn(run: Inference) -> list[float]:
    run()
    marks = [time.perf_counter()]
    for _ in range(RUNS_PER_TURN):
        run()
        marks.append(time.perf_counter())
    return [(after - before) * 1e3 for before, after in itertools.pairwise(marks)]


def _row(
    subject: Subject,
    times_TR: Times,
    base_TR: Times,
    bench: BenchOptions,
    peak_memory_bytes: int | None,
) -> LatencyRow:
    summary = summarise_times(times_TR)
    ratio = ratio_of_medians(base_TR, times_TR)
    return LatencyRow(
        name=subject.name,
        provider=subject.session.get_providers()[0],
        batch_size=bench.latency_batch,
        threads=num_threads(bench),
        **asdict(summary),
        images_per_second=bench.latency_batch / summary.mean_ms * 1e3,
        ratio=ratio.value,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        size_bytes=file_bytes(subject.path),
        session_ms=subject.session_ms,
        peak_memory_bytes=peak_memory_bytes,
    )
