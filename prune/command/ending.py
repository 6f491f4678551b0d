"""How a command ends: where its result is, how long it took, and what to try next."""

import shlex
from pathlib import Path

from ..options import DataOptions, NetworkOptions
from ..terminal import duration
from .opening import default_out
from .tables import write_result
from .trees import Export, Job, Rank, Sweep, Train


def show_end(place: Path, seconds: float, next_steps: list[str], open_page: str = "") -> None:
    """The last lines of a command on stdout.

    Args:
        place: of the result. seconds: that it took.
        next_steps: commands to try.
        open_page: file in `place` that is read in a browser.
    """
    write_result("")
    write_result(f"result: {place}, after {duration(seconds)}")
    if open_page:
        write_result(f"open in a browser: {place / open_page}")
    if next_steps:
        write_result("next:")
    for step in next_steps:
        print(f"  {step}")


def after_job(options: Job, *, by_outputs: bool = False) -> list[str]:
    """What to try with a smaller network; where its outputs judged it, other commands refuse it."""
    out = options.run.out or default_out(options.network.model)
    shares = ["0.7", "0.5", "0.3"]
    if by_outputs:
        return [typed("bench", str(out / "model.onnx"))] * (out / "model.onnx").exists()
    return [
        typed("bench", str(out / "model.onnx"), "--latency-batch", "8"),
        typed("export", "--model", str(out), *_data(options.data), "--int8"),
        typed("sweep", *_network(options.network, options.data), "--macs", *shares),
    ]


def after_train(options: Train, file: str) -> list[str]:
    """What to try with a trained network."""
    return [typed("--model", file, *_data(options.data), "--keep", "0.6")]


def after_rank(options: Rank) -> list[str]:
    """What to try once filters are ranked."""
    return [typed(*_network(options.network, options.data), "--keep", "0.6", "--dry-run")]


def after_sweep(options: Sweep) -> list[str]:
    """What to try once it is known which budgets are worth having."""
    given = _network(options.network, options.data)
    return [typed(*given, "--macs", "0.5", "--epochs", "10")]


def after_export(options: Export, file: str) -> list[str]:
    """What to try with an ONNX file."""
    return [typed("bench", file)]


def typed(*words: str) -> str:
    """A command line, to be copied."""
    return shlex.join(["prune-dl", *words])


def _network(network: NetworkOptions, data: DataOptions) -> list[str]:
    arch = ["--arch", network.arch] if network.arch else []
    return ["--model", network.model, *arch, *_data(data)]


def _data(data: DataOptions) -> list[str]:
    return ["--data", data.data] if data.data else []
