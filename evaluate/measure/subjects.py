"""What is timed: an opened file, its input, and the call that runs it once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from ...export.session import MAX_CAUSE, NEED_CUDA, Session, open_session, require_use
from ...prune.errors import InputError, UsageError, first_line
from ...prune.options import BenchOptions
from .environment import num_threads
from .feeds import Feed, make_feed

WITH_COPIES = " + copies"


@dataclass(frozen=True)
class Subject:
    """One row of a comparison before it is timed.

    Attributes:
        name: as the row will be called.
        path: the ONNX file.
        session: opened on the provider that was asked for.
        session_ms: how long opening it took.
        feed: its input, by name.
        run: one inference; its outputs are ready when it returns.
    """

    name: str
    path: Path
    session: Session
    session_ms: float
    feed: Feed
    run: Callable[[], Any]


def prepare(
    files: Mapping[str, Path], bench: BenchOptions, input_size: tuple[int, ...] | None = None
) -> list[Subject]:
    """Open every file and make its input; errors say which file they are about.

    On a GPU a file gives two subjects: input and output bound to the device, and a second one
    with the copies there and back.

    Args:
        files: name -> ONNX file.
        input_size: of one image, needed only for graphs that leave it open.

    Raises:
        UsageError: a provider that would not really be used; a batch size or input size that a
            graph does not take.
        InputError: a file that ONNX Runtime cannot open, or not run.
    """
    subjects = []
    for name, path in files.items():
        try:
            subjects += _subjects(name, path, bench, input_size)
        except (InputError, UsageError) as error:
            raise type(error)(f"{name}: {error}") from error
    return subjects


def _subjects(
    name: str, path: Path, bench: BenchOptions, input_size: tuple[int, ...] | None
) -> list[Subject]:
    start = time.perf_counter()
    session = open_session(path, bench.provider, num_threads(bench))
    session_ms = (time.perf_counter() - start) * 1e3
    feed = make_feed(session, bench.latency_batch, input_size)
    plain = Subject(name, path, session, session_ms, feed, lambda: session.run(None, feed))
    _run_once(plain)
    if bench.provider != "cpu":
        require_use(path, bench.provider, feed)
    if bench.provider not in NEED_CUDA:
        return [plain]
    bound = replace(plain, run=bind(session, feed, "cuda"))
    return [bound, replace(plain, name=name + WITH_COPIES)]


def _run_once(subject: Subject) -> None:
    """A graph may open and still not run: its error is told before anything is timed."""
    try:
        subject.run()
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own.
        raise InputError(
            f"{subject.path} given; ONNX Runtime cannot run it ({first_line(error)[:MAX_CAUSE]}); "
            "give an ONNX file that takes such an input, or its own `input_size`"
        ) from error


def file_bytes(path: Path) -> int:
    """Size of an ONNX file and of the side files with its weights, as other tools write them."""
    graph = onnx.load(path, load_external_data=False).graph
    places = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if tensor.data_location == onnx.TensorProto.EXTERNAL and entry.key == "location"
    }
    return sum(file.stat().st_size for file in (path, *(path.parent / p for p in places)))


def bind(session: Session, feed: Feed, device: str) -> Callable[[], Any]:
    """A call that runs the graph on `feed` with inputs and outputs kept on `device`.

    It returns the outputs as `onnxruntime.OrtValue`, after waiting for them.
    """
    binding = session.io_binding()
    for name, array in feed.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0)
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, device)

    def run() -> Any:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding.get_outputs()

    return run
