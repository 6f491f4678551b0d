"""One whole file of every kind that the product reads, made from a tiny network, and its reader."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from prune_dl.evaluate.measure.subjects import file_bytes, prepare
from prune_dl.evaluate.report.tradeoff import TradeoffPoint
from prune_dl.export.graph import export_onnx
from prune_dl.export.hub import write_hub_folder
from prune_dl.prune.checks import check_ranges
from prune_dl.prune.command import cli
from prune_dl.prune.command.opening import name_data, open_data_of
from prune_dl.prune.command.options_file import to_tables
from prune_dl.prune.command.sweep import folder as sweep_folder
from prune_dl.prune.errors import InputError
from prune_dl.prune.files import write_json, write_torch
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.decode import FileDecoder, read_size
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.pruned_file import save_pruned
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.files import load_spectrum, save_spectrum
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import measure
from prune_dl.prune.mechanism.statistics import load_statistics, save_statistics
from prune_dl.prune.options import BenchOptions, DataOptions, NetworkOptions
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.state import (
    Length,
    TrainingState,
    load_state,
    save_state,
    start_training,
)
from scenes.report_samples import sample_report
from torch import nn

from .mutants import in_json, in_safetensors, in_toml, in_torch

ARCH = "vgg6:width=0.05,in_channels=1"
Operate = Callable[[bytes, Any], bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the file, as the product writes it.
        seed: a whole file.
        read: what the product does with one; every error must be a PruneError.
        operate: how one value inside is replaced; None for raw damage alone.
    """

    name: str
    seed: bytes
    read: Callable[[Path], Any]
    operate: Operate | None = None


def make_kinds(home: Path) -> dict[str, Kind]:
    """All kinds, whose seeds are written to `home`."""
    model = network()
    found: dict[str, Kind] = {}

    def add(kind: str, name: str, read: Callable[[Path], Any], operate: Operate | None) -> None:
        found[kind] = Kind(name, (home / name).read_bytes(), read, operate)

    origin = Origin(ARCH, 10, "digits", (), (1, 32, 32), (0.5,), (0.5,))
    save_checkpoint(home / "checkpoint.pt", model, origin)
    add("checkpoint", "checkpoint.pt", _load, in_torch)
    write_torch(home / "state.pt", model.state_dict())
    add("state-dict", "state.pt", _load_state, in_torch)
    plan = _plan(structure())
    smaller = remove(model, Cut(structure(), plan))
    save_pruned(
        home / "model.safetensors", smaller, origin, Cut(structure(), plan).kept, {"a": "b"}
    )
    add("model", "model.safetensors", _load, in_safetensors)
    (home / "plan.json").write_text(plan.to_json())
    add("plan", "plan.json", _read_plan, in_json)
    _write_measured(home, model)
    add("statistics", "statistics.safetensors", load_statistics, in_safetensors)
    add("spectrum", "spectrum.safetensors", load_spectrum, in_safetensors)
    _write_options(home)
    add("options", "options.toml", _read_options, in_toml)
    add("run-json", "run.json", _read_options, in_json)
    save_state(home / "retraining.pt", _training())
    add("resume", "retraining.pt", lambda path: load_state(path, _training()), in_torch)
    write_json(home / "point.json", [asdict(TradeoffPoint("keep 0.5", macs=3, params=4))])
    add("point", "point.json", _read_point, in_json)
    write_json(home / "sweep.json", json.loads(_sweep_settings(home)))
    add("sweep", "sweep.json", _read_sweep, in_json)
    write_json(home / "report.json", sample_report().to_dict())
    add("report", "report.json", _hub_folder, in_json)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "tiff", "bmp"):
        Image.fromarray(pixels).save(home / f"image.{suffix}")
        add(suffix, f"image.{suffix}", _decode, None)
    export_onnx(model, (1, 32, 32), home / "model.onnx", metadata={"plan": "0"})
    add("onnx", "model.onnx", _run_onnx, None)
    return found


@cache
def network() -> nn.Module:
    """A VGG-6 of a few filters, untrained."""
    return build(ARCH, 10, seed=0).eval()


@cache
def structure() -> Structure:
    """What tracing finds in it."""
    return trace(network(), torch.zeros(2, 1, 32, 32))


def _plan(found: Structure) -> Plan:
    whole = keep_everything(found).layers
    return Plan(tuple(LayerPlan(x.name, x.num_filters, x.kept[:2]) for x in whole))


def _write_measured(home: Path, model: nn.Module) -> None:
    batches = list(open_data("digits", input_size=(1, 32, 32)).held_out.batches(64, device="cpu"))
    traced = TracedNetwork(model, structure(), 10, torch.device("cpu"))
    statistics, spectrum = measure(traced, batches[:1], batches[:1])
    save_statistics(statistics, home / "statistics.safetensors")
    save_spectrum(spectrum, home / "spectrum.safetensors")


def _write_options(home: Path) -> None:
    flags = ["--model", "x.pt", "--keep", "0.5", "--data", "digits", "--mean", "0.5", "--lr", "0.1"]
    tables = to_tables(cli.parse(flags))
    write_json(home / "run.json", {"command": "prune-dl", "options": tables})
    from .mutants import _toml

    lines = []
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += [f"[{name}]"]
            lines += [
                f"{key} = {_toml(value)}" for key, value in table.items() if value is not None
            ]
    (home / "options.toml").write_text("\n".join(lines))


def _training() -> TrainingState:
    training = Training(epochs=2, averaging=0.9)
    return start_training(build(ARCH, 10, seed=0), training, Length.of(training, 256))


def _sweep(out: Path, *flags: str) -> Any:
    return cli.parse(["sweep", "--model", "x.pt", "--keep", "0.5", "--out", str(out), *flags])


def _sweep_settings(home: Path) -> str:
    sweep_folder.open_folder(home / "a-sweep", _sweep(home / "a-sweep"))
    return (home / "a-sweep" / sweep_folder.SETTINGS).read_text()


def _load(path: Path) -> Any:
    """As every command opens a network, and the data that its file names."""
    checkpoint = load_checkpoint(str(path))
    images = DataOptions()
    spec = name_data(NetworkOptions(str(path)), images, checkpoint)
    return open_data_of(spec, images, 0, checkpoint)


def _load_state(path: Path) -> Any:
    """Without and with the architecture: none is inferred from so small a network."""
    with suppress(InputError):
        load_checkpoint(str(path))
    return load_checkpoint(str(path), arch=ARCH)


def _read_plan(path: Path) -> Any:
    return Plan.from_json(path.read_text(encoding="utf-8", errors="replace")).removed_units(
        structure()
    )


def _read_options(path: Path) -> Any:
    check_ranges(cli.parse(["--config", str(path)]))


def _read_point(path: Path) -> Any:
    place = path.parent / "keep-0.5"
    place.mkdir(exist_ok=True)
    path.replace(place / sweep_folder.DONE)
    (place / sweep_folder.FAILED).write_bytes((place / sweep_folder.DONE).read_bytes())
    return sweep_folder.read_points(path.parent, "keep 0.5")


def _read_sweep(path: Path) -> Any:
    sweep_folder.open_folder(path.parent, _sweep(path.parent, "--resume"))


def _hub_folder(path: Path) -> Any:
    run = path.parent
    for name in ("model.safetensors", "model.onnx"):
        (run / name).write_bytes(b"0")
    write_hub_folder(run, run / "hub")


def _decode(path: Path) -> Any:
    """As a folder of images is read: its size first, then the centre, then a random crop."""
    read_size(str(path))
    decoder = FileDecoder((str(path),), (3, 32, 32))
    return decoder(0, None), decoder(0, 1), FileDecoder((str(path),), (1, 32, 32))(0, None)


def _run_onnx(path: Path) -> Any:
    """As `bench` does, once."""
    for subject in prepare({"a": path}, BenchOptions(threads=1), (1, 32, 32)):
        subject.run()
        file_bytes(path)


Kinds = Mapping[str, Kind]
