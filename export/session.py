"""ONNX Runtime sessions: quiet, and on the provider that was asked for, else an error.

Shapes: N images, K labels.
"""

import contextlib
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..prune.errors import InputError, UsageError
from ..prune.files import require_regular

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
NEED_CUDA = ("cuda", "tensorrt")
PROBE_OPSET = 17
"""Of the tiny graph that a provider is tried on; ONNX Runtime reads it from 1.12 on."""
DEFAULT_BATCH = 64
"""Images that a graph of any batch size takes at once; it bounds memory."""
ERRORS_ONLY, FATAL_ONLY = 3, 4
"""Severities of ONNX Runtime's log."""
MAX_CAUSE = 200
"""Characters of ONNX Runtime's own message that an error repeats."""
Session = Any
"""An `onnxruntime.InferenceSession`; the package has no type stubs."""


def open_session(path: Path, provider: str = "cpu", threads: int | None = None) -> Session:
    """Open an ONNX file on `provider`, one of `PROVIDERS`.

    Args:
        threads: worker threads inside an operator; None leaves the number to ONNX Runtime.

    Raises:
        UsageError: the provider is unknown, not installed, or would not really be used.
        InputError: the file is missing or is no ONNX graph that this ONNX Runtime can run.
    """
    wanted = _available(provider)
    require_regular(path)
    if not path.exists():
        raise InputError(f"{path} given; there is no such file; expected an .onnx file")
    session = _create(path, provider, wanted, _options(threads))
    used = session.get_providers()[0]
    if used != wanted:
        raise UsageError(
            f"`provider={provider}` given; ONNX Runtime would use {used} instead; "
            "check the driver and the provider's libraries, or give `provider=cpu`"
        )
    return session


def require_provider(provider: str, option: str = "provider") -> None:
    """Find out before any work whether a provider can be used, by opening a tiny graph on it.

    Args:
        option: what named the provider, for the message.

    Raises:
        UsageError: it is unknown, not installed, or would not really be used.
    """
    with TemporaryDirectory(prefix="prune-dl-provider-") as folder:
        try:
            open_session(_write_probe(Path(folder)), provider, threads=1)
        except UsageError as error:
            raise UsageError(str(error).replace("`provider=", f"`{option}=")) from error


def use_once(provider: str) -> None:
    """Run a tiny graph on a provider, and see that its node ran there.

    Raises:
        UsageError: as `require_provider`, or the node ran elsewhere.
    """
    with TemporaryDirectory(prefix="prune-dl-provider-") as folder:
        path = _write_probe(Path(folder))
        open_session(path, provider, threads=1)
        require_use(path, provider, {"x": np.zeros(1, np.float32)})


def can_run(opset: int) -> bool:
    """Whether ONNX Runtime takes files of an operator set, by opening a tiny one."""
    with TemporaryDirectory(prefix="prune-dl-opset-") as folder:
        try:
            open_session(_write_probe(Path(folder), opset), threads=1)
        except InputError:
            return False
    return True


def _write_probe(folder: Path, opset: int = PROBE_OPSET) -> Path:
    """A file of one operator, in the oldest format that has the operator set."""
    import onnx  # not above: a process whose memory is measured opens sessions and nothing more

    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Abs", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "probe", [shape], [out])
    imports = [onnx.helper.make_opsetid("", opset)]
    version = onnx.helper.find_min_ir_version_for(imports)
    file = folder / "probe.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=version), file)
    return file


def _available(provider: str) -> str:
    if provider not in PROVIDERS:
        raise UsageError(f"`provider={provider}` given; expected one of {', '.join(PROVIDERS)}")
    installed = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in installed:
        names = ", ".join(name for name, full in PROVIDERS.items() if full in installed)
        raise UsageError(
            f"`provider={provider}` given; expected one of the installed ONNX Runtime ({names}); "
            "install the package that has it, or give another"
        )
    return PROVIDERS[provider]


def _options(threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    # Idle workers of one session would otherwise spin on the cores while another is being timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def nodes_by_provider(path: Path, provider: str, feed: Mapping[str, NDArray[Any]]) -> Counter[str]:
    """How many nodes of the optimised graph each execution provider ran, by one profiled run.

    A session may name a provider and still leave every node to the CPU.
    """
    _, events = profile_runs(path, provider, feed)
    runs = (event.get("args", {}) for event in events)
    nodes = {(run["node_index"], run["provider"]) for run in runs if "provider" in run}
    return Counter(name for _, name in nodes)


def profile_runs(
    path: Path,
    provider: str,
    feed: Mapping[str, NDArray[Any]],
    threads: int | None = None,
    *,
    runs: int = 1,
    seconds: float = 0.0,
) -> tuple[int, list[dict[str, Any]]]:
    """What ONNX Runtime says of every operator of some runs, and how many runs there were.

    Args:
        runs: at the most. seconds: after which no further run is made.
    """
    with TemporaryDirectory(prefix="prune-dl-profile-") as folder:
        options = _options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        session = _create(path, provider, _available(provider), options)
        end, done = time.perf_counter() + seconds, 0
        while not done or (done < runs and time.perf_counter() < end):
            session.run(None, dict(feed))
            done += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return done, [event for event in events if event.get("cat") == "Node"]


def require_use(path: Path, provider: str, feed: Mapping[str, NDArray[Any]]) -> None:
    """Raises UsageError when not one node of the file runs on the provider."""
    counts = nodes_by_provider(path, provider, feed)
    if not counts[PROVIDERS[provider]]:
        ran = ", ".join(f"{number} on {name}" for name, number in counts.items())
        raise UsageError(
            f"`provider={provider}` given; not one node of {path.name} runs on it ({ran}); "
            "give the provider that does"
        )


def _create(path: Path, provider: str, wanted: str, options: Any) -> Session:
    if provider in NEED_CUDA:
        _preload_cuda()
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[wanted], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own.
        raise _explain(path, provider, error) from error


def _preload_cuda() -> None:
    """Load CUDA from Python packages. One that is missing shows when the session is opened.

    Also needed when torch has loaded its own copies: they lack libcurand.
    """
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def _explain(path: Path, provider: str, error: Exception) -> InputError | UsageError:
    first_line = str(error).strip().splitlines()[0][:MAX_CAUSE]
    if provider == "cpu":
        return InputError(
            f"{path} given; ONNX Runtime cannot open it ({first_line}); give an ONNX file whose "
            "operators this version has"
        )
    return UsageError(
        f"`provider={provider}` given; it cannot run {path.name} ({first_line}); "
        "check the driver and the provider's libraries, or give `provider=cpu`"
    )


def fixed_batch(session: Session) -> int | None:
    """The batch size that the graph insists on; None when it takes any."""
    size = session.get_inputs()[0].shape[0]
    return size if isinstance(size, int) else None


def run_session(
    session: Session, images: NDArray[Any], batch_size: int = DEFAULT_BATCH
) -> NDArray[Any]:
    """First output (N, K) of a graph with one input for images (N, ...), batch by batch.

    A graph of a fixed batch size gets exactly that: the last batch is filled up with its own
    last image, and the surplus rows are dropped.
    """
    size = fixed_batch(session) or batch_size
    name = session.get_inputs()[0].name
    outputs = [
        session.run(None, {name: _fill(batch, session)})[0][: len(batch)]
        for batch in _batches(images, size)
    ]
    joined = np.concatenate(outputs)
    return joined[:, None] if joined.ndim == 1 else joined  # one number for each image


def _batches(images: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _fill(batch: NDArray[Any], session: Session) -> NDArray[Any]:
    missing = (fixed_batch(session) or 0) - len(batch)
    if missing <= 0:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
