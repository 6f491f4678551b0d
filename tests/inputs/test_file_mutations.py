"""Files that are not what they should be: whatever stands in them, one line and no traceback.

Every reader of a file gets copies of a good one in which places were changed, seeded and bounded:
what comes out is a value or a `PruneError`.
"""

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.evaluate.measure import staircase
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report.files import write_report
from prune_dl.evaluate.report.tradeoff import TradeoffPoint
from prune_dl.export.hub import write_hub_folder
from prune_dl.prune.checks import check_ranges, check_texts
from prune_dl.prune.command.home import data_at_home
from prune_dl.prune.command.options_file import from_tables, read_config, to_tables
from prune_dl.prune.command.sweep.folder import is_done, read_points, write_points
from prune_dl.prune.command.trees import Job
from prune_dl.prune.files import write_safetensors
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.pruned_file import load_pruned, save_pruned
from prune_dl.prune.mechanism.files import load_spectrum, save_spectrum
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import measure
from prune_dl.prune.mechanism.statistics import collect, load_statistics, save_statistics
from prune_dl.prune.options import NetworkOptions, SelectOptions
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.depth import DepthCut
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.state import Length, load_state, save_state, start_training
from prune_dl.prune.typed import from_json
from scenes.model_files import ARCH, as_tensor, read_all, small_origin
from scenes.mutations import check, damage, json_reader, mutate, survives
from scenes.report_samples import sample_report

MUTANTS = 150
"""Of each file; the slow tier takes `MANY`."""
MANY = 3000

Count = pytest.mark.parametrize("count", [MUTANTS, pytest.param(MANY, marks=pytest.mark.slow)])


def read_options(path: Path) -> None:
    options = from_tables(Job, read_config(path))
    check_texts(options)
    check_ranges(options)


@Count
def test_run_json(tmp_path: Path, count: int) -> None:
    options = Job(NetworkOptions("a.pt", arch="vgg16"), select=SelectOptions(keep=0.5))
    path = tmp_path / "run.json"
    document = {"command": "", "options": to_tables(options), "data": "/a/b"}

    def read() -> None:
        data_at_home(tmp_path / "model.safetensors", "b")
        read_options(path)

    check(document, json_reader(path, read), count)


def as_toml(tables: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {text(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        return json.dumps(value)

    return "\n".join(f"{json.dumps(k)} = {text(v)}" for k, v in tables.items())


@Count
def test_options_in_toml(tmp_path: Path, count: int) -> None:
    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_none(v) for k, v in value.items() if v is not None}
        return value

    tables = without_none(to_tables(Job(NetworkOptions("a.pt"), select=SelectOptions(keep=0.5))))
    path = tmp_path / "options.toml"

    def write(document: Any) -> Callable[[], None]:
        path.write_text(as_toml(document), errors="surrogateescape")
        return lambda: read_options(path)

    check(tables, write, count)


@Count
def test_plan_json(tmp_path: Path, count: int) -> None:
    plan = Plan((LayerPlan("0", 4, (0, 2)), LayerPlan("1", 8, (1, 2, 3))))
    document = json.loads(plan.to_json())
    check(document, lambda values: lambda: Plan.from_json(json.dumps(values)), count)


@Count
def test_points_of_a_sweep(tmp_path: Path, count: int) -> None:
    point = TradeoffPoint("keep 0.5", "int8", Accuracy(3, 4), 1.0, 2.0, 10, 20, 30, "a/b.onnx")
    write_points(tmp_path, "keep 0.5", [point, TradeoffPoint("keep 0.5", error="no")])
    path = tmp_path / "keep-0.5" / "point.json"
    (tmp_path / "keep-0.5" / "failed.json").write_text("[]")

    def read() -> None:
        is_done(tmp_path, "keep 0.5")
        read_points(tmp_path, "keep 0.5")

    check(json.loads(path.read_text()), json_reader(path, read), count)


@Count
def test_report_json(tmp_path: Path, count: int) -> None:
    run = tmp_path / "run"
    run.mkdir()
    path, _ = write_report(sample_report(num_layers=2), run)
    for name in ("model.safetensors", "model.onnx"):
        (run / name).touch()
    report = json.loads(path.read_text())
    shown = ("model", "target", "command", "accuracy", "macs", "latency_ms", "layers", "benchmark")
    places_made = iter(range(10**6))

    def read() -> None:
        write_hub_folder(run, tmp_path / f"hub{next(places_made)}")

    check({key: report[key] for key in shown}, json_reader(path, read), min(count, 500))


@Count
def test_the_cache_of_a_machine(tmp_path: Path, count: int) -> None:
    path = tmp_path / "x.json"
    document = {"widths": [8, 16], "latency_ms": [1.0, 2.0], "threads": 1}
    good = staircase.Staircase((8, 16), (1.0, 2.0))
    chance = random.Random(0)
    for _ in range(count):
        path.write_text(json.dumps(mutate(document, chance)))
        found = staircase._read(path)
        assert found is None or all(width > 0 for width in found.efficient or (1,))
    path.write_text(json.dumps(document))
    assert staircase._read(path) == good


@Count
def test_the_origin_in_a_checkpoint(tmp_path: Path, count: int) -> None:
    """A pickle of plain values holds more kinds of them than JSON does."""
    path = tmp_path / "net.pt"
    save_checkpoint(path, zoo.build(ARCH, 10), small_origin())
    whole = torch.load(path)

    def write(document: Any) -> Callable[[], Any]:
        torch.save({"origin": document, "state_dict": whole["state_dict"]}, path)
        return lambda: load_checkpoint(str(path))

    check(json.loads(json.dumps(whole["origin"])), write, min(count, 300))


@Count
def test_the_recipe_of_a_pruned_network(tmp_path: Path, count: int) -> None:
    model, path = zoo.build(ARCH, 10), tmp_path / "model.safetensors"
    structure = trace(model, torch.rand(2, 1, 16, 16))
    plan = Plan(tuple(LayerPlan(g.name, len(g.units), (0,)) for g in structure.groups))
    cut = Cut(structure, plan)
    deep = DepthCut((), "classifier", model.get_submodule("classifier").in_features)
    save_pruned(path, remove(model, cut), small_origin(cut=deep), cut.kept, {"plan": "0"})
    tensors, metadata = read_all(path)
    document = {
        "head": {key: metadata[key] for key in ("format", "version")},
        "origin": json.loads(metadata["origin"]),
        "notes": json.loads(metadata["notes"]),
        "kept": {k: v.tolist() for k, v in tensors.items() if k.startswith("kept:")},
    }
    weights = {k: v for k, v in tensors.items() if not k.startswith("kept:")}

    def write(values: Any) -> Callable[[], Any]:
        head = {k: v for k, v in as_dict(values.get("head")).items() if isinstance(v, str)}
        for key in ("origin", "notes"):
            if key in values:
                head[key] = json.dumps(values[key])
        kept = {k: as_tensor(v) for k, v in as_dict(values.get("kept")).items()}
        write_safetensors(path, weights | kept, encodable(head))
        return lambda: load_pruned(path)

    check(document, write, count)


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def encodable(head: dict[str, str]) -> dict[str, str]:
    return {k: v.encode("utf-8", "replace").decode() for k, v in head.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics and a spectrum of a small network, in files."""
    folder = tmp_path_factory.mktemp("measured")
    model = zoo.build(ARCH, 10, seed=0)
    images, labels = torch.rand(40, 1, 16, 16), torch.arange(40) % 10
    network = TracedNetwork(model, trace(model, images[:2]), 10, torch.device("cpu"))
    batches = [(images, labels)]
    _, spectrum = measure(network, batches, batches)
    save_spectrum(spectrum, folder / "spectrum")
    save_statistics(collect(network, batches, sampled=True), folder / "statistics")
    return folder


@Count
@pytest.mark.parametrize("name", ["spectrum", "statistics"])
def test_heads_and_tensors_of_measurements(
    measured: Path, tmp_path: Path, name: str, count: int
) -> None:
    read = {"spectrum": load_spectrum, "statistics": load_statistics}[name]
    tensors, metadata = read_all(measured / name)
    path = tmp_path / name
    chance = random.Random(1)

    def write(document: Any) -> Callable[[], Any]:
        head = json.dumps(document["head"]) if "head" in document else ""
        kept = dict(tensors)
        if document is not whole and chance.random() < 0.5:
            key = chance.choice(list(kept))
            odd = [kept[key][:1], kept[key].float()[None], kept[key] - 2, torch.zeros(0), None]
            kept[key] = odd[chance.randrange(5)]
        kept = {k: v.contiguous() for k, v in kept.items() if v is not None}
        form = metadata["format"]
        write_safetensors(path, kept, {"format": form, "head": head})
        return lambda: read(path)

    whole = {"head": json.loads(metadata["head"])}
    check(whole, write, min(count, 600))


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_a_state_to_resume_from(tmp_path: Path, count: int) -> None:
    path, training = tmp_path / "r.pt", Training(epochs=2, patience=1)
    fresh = zoo.build(ARCH, 10)

    def state() -> Any:
        return start_training(copy.deepcopy(fresh), training, Length.of(training, 256))

    started = state()
    started.note_held_out(0.5)
    save_state(path, started)
    whole = torch.load(path)
    whole["position"] = list(whole["position"])

    def write(document: Any) -> Callable[[], Any]:
        torch.save(document, path)

        def read() -> None:
            taken = state()
            load_state(path, taken)
            assert isinstance(taken.is_over, bool)

        return read

    check(whole, write, count)


@Count
def test_bytes_that_were_damaged(
    measured: Path, tmp_path: Path, trained_file: Path, count: int
) -> None:
    """Checkpoints, safetensors and texts with bytes cut off, changed or put in."""
    model = tmp_path / "model.safetensors"
    save_pruned(model, zoo.build(ARCH, 10), small_origin(), {}, {})
    (tmp_path / "run.json").write_text(json.dumps({"options": {}, "data": "x"}))
    (tmp_path / "o.toml").write_text('model = "a.pt"\n[select]\nkeep = 0.5\n')
    plan = Plan((LayerPlan("0", 4, (0, 2)),)).to_json().encode()
    readers: list[tuple[bytes, Callable[[Path], Any]]] = [
        (model.read_bytes(), load_pruned),
        (model.read_bytes(), lambda path: load_checkpoint(str(path))),
        ((measured / "spectrum").read_bytes(), load_spectrum),
        ((measured / "statistics").read_bytes(), load_statistics),
        (trained_file.read_bytes(), lambda path: load_checkpoint(str(path))),
        ((tmp_path / "run.json").read_bytes(), read_config),
        ((tmp_path / "o.toml").read_bytes(), read_config),
        (plan, lambda path: from_json(path.read_bytes(), dict[str, Any], "a plan")),
    ]
    chance = random.Random(2)
    for place in range(count):
        contents, read = readers[place % len(readers)]
        near_start = contents[:600] if chance.random() < 0.7 else contents
        path = tmp_path / f"m{('.safetensors', '.json', '.pt')[place % 3]}"
        path.write_bytes(damage(near_start, chance) + contents[len(near_start) :])
        survives(lambda read=read, path=path: read(path))
