"""Files that are not what they should be: whatever stands in them, one line and no traceback.

Every reader of a file gets copies of a good one in which places were changed, seeded and bounded:
what comes out is a value or a `PruneError`.
"""

import copy
import json
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.evaluate.measure import staircase
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report.files import write_report
from prune_dl.evaluate.report.tradeoff import TradeoffPoint
from prune_dl.export.hub import write_hub_folder
from prune_dl.prune.checks import check_ranges, check_texts
from prune_dl.prune.command import cli
from prune_dl.prune.command.home import data_at_home
from prune_dl.prune.command.options_file import from_tables, read_config, to_tables
from prune_dl.prune.command.sweep.folder import is_done, read_points, write_points
from prune_dl.prune.command.trees import Job
from prune_dl.prune.errors import InputError, PruneError, UsageError
from prune_dl.prune.files import write_safetensors
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
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
from safetensors import safe_open
from scenes.report_samples import sample_report
from torch import Tensor

ARCH = "vgg6:width=0.03,in_channels=1"
MUTANTS = 150
"""Of each file; the slow tier takes `MANY`."""
MANY = 3000
WORDS: list[Any] = [
    None, True, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, math.inf, math.nan, "", "x", "a\0b",
    "x" * 300, "\udce9", "../../x", "/dev/zero", "os:system", [], [None], {}, [[1]], {"a": {}},
    [3, 1, 2], [1, 1], "1", [0.5, "x"], {"": 0}, "kept:0:x", [-1],
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within plain values."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)) and value[key]:
            yield from places(value[key])


def mutate(document: Any, chance: random.Random) -> Any:
    """A copy in which one to three values are others, gone, doubled or under another name."""
    changed = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        found = list(places(changed))
        if not found:
            break
        box, key = chance.choice(found)
        kind = chance.random()
        if kind < 0.6:
            box[key] = copy.deepcopy(chance.choice(WORDS))
        elif kind < 0.75:
            del box[key]
        elif isinstance(box, dict):
            box[chance.choice(["x", "", "num_labels", "kept", "name"])] = box[key]
        else:
            box.insert(key, copy.deepcopy(chance.choice([box[key], *WORDS])))
    return changed


def damage(contents: bytes, chance: random.Random) -> bytes:
    """Bytes that were cut off, changed or put in."""
    place = chance.randrange(max(1, len(contents)))
    kind = chance.randrange(4)
    if kind == 0:
        return contents[:place]
    noise = bytes(chance.randrange(256) for _ in range(chance.choice([1, 1, 4, 20])))
    deep = chance.choice([b"[" * 20000, b'{"a":' * 20000, b"1e400", b"NaN", b"\x00", b"\xff\xfe"])
    return contents[:place] + (deep if kind == 1 else noise) + contents[place + 2 * (kind == 2) :]


def survives(read: Callable[[], Any]) -> bool:
    """Whether a value came out; a `PruneError` of one line may come out too, nothing else."""
    refused: PruneError | None = None
    try:
        read()
    except PruneError as error:
        refused = error
    assert refused is None or "\n" not in str(refused).strip()
    assert type(refused) in (InputError, UsageError, type(None)), repr(refused)
    return refused is None


def check(document: Any, write: Callable[[Any], Callable[[], Any]], count: int) -> None:
    """Read so many mutants; the good document itself must be readable."""
    assert survives(write(document))
    chance = random.Random(0)
    came_out = [survives(write(mutate(document, chance))) for _ in range(count)]
    assert not all(came_out), "no mutant was refused"


Count = pytest.mark.parametrize("count", [MUTANTS, pytest.param(MANY, marks=pytest.mark.slow)])


def json_reader(path: Path, read: Callable[[], Any]) -> Callable[[Any], Callable[[], Any]]:
    def write(document: Any) -> Callable[[], Any]:
        path.write_text(json.dumps(document))
        return read

    return write


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


def small_origin(**changes: Any) -> Origin:
    return Origin(ARCH, 10, "digits", tuple("0123456789"), (1, 16, 16), (0.5,), (0.5,), **changes)


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


def as_tensor(value: Any) -> Tensor:
    try:
        return torch.from_numpy(np.array(value, dtype=np.int64))
    except (TypeError, ValueError, OverflowError):
        return torch.zeros(2, 2, dtype=torch.float16)


def read_all(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118


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


@pytest.mark.parametrize("text", ["NaN", "1e400", '"\\ud800"', "[" * 10**5, b"\xff", '{"a":1'])
def test_json_that_is_none_is_one_line(text: str | bytes) -> None:
    with pytest.raises(InputError, match="the file does not hold"):
        from_json(text, dict[str, Any], "the file")


@pytest.mark.parametrize(
    ("kept", "axis"),
    [
        ([1, 0], "0"), ([0, 0], "0"), ([-1, 0], "0"), ([], "0"), ([[0]], "0"), ([0, 99], "0"),
        ([0], "x"), ([0], "-1"), ([0], "9"), ([0], "99999999999999999999"),
    ],
)  # fmt: skip
def test_positions_that_cannot_be_kept(tmp_path: Path, kept: Any, axis: str) -> None:
    path = tmp_path / "x.safetensors"
    save_pruned(path, zoo.build(ARCH, 10), small_origin(), {}, {})
    tensors, metadata = read_all(path)
    tensors[f"kept:{axis}:features.0.weight"] = as_tensor(kept)
    write_safetensors(path, tensors, metadata)
    with pytest.raises(InputError, match=r"kept|positions|fit"):
        load_pruned(path)


@pytest.mark.parametrize("kept", ["[1, 0]", "[0, 0]", "[-1]", "[]", "[4]", "[0.5]"])
def test_plans_that_cannot_be(kept: str) -> None:
    text = '{"version": %d, "layers": [{"name": "0", "num_filters": 4, "kept": %s}]}'
    with pytest.raises(InputError, match="a plan"):
        Plan.from_json(text % (1, kept))
    with pytest.raises(InputError, match="a plan"):
        Plan.from_json(text % (2, "[0]"))
    assert Plan.from_json(text % (1, "[0, 3]")).layers[0].kept == (0, 3)


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ({"input_size": [1, 10**5, 16]}, "inputs of 1 x 100000 x 16"),
        ({"num_labels": 10**12}, "1000000000000 labels"),
        ({"labels": ["a"]}, "1 names for 10 labels"),
        ({"mean": [0.5, 0.5]}, "2 mean and 1 std values, 1 channels"),
        ({"std": [0.0]}, "std of 0"),
        ({"cut": {"passed": [], "classifier": "x", "num_features": 10**15}}, "a classifier of"),
        ({"version": 2}, "version is unknown"),
    ],
)
def test_origins_that_contradict_themselves(origin: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Origin.from_dict({**small_origin().to_dict(), **origin})


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--seed", str(2**64)), "--seed 18446744073709551616 given; expected 0 or more, and at"),
        (("--seed", str(2**32)), "at most 4294967295"),
        (("--epochs", str(10**400)), "--epochs 1000"),
        (("--weight-decay", "1"), "unknown"),
        (("--lr", "inf"), "--lr inf given"),
        (("--max-drop", "1e400"), "--max-drop inf given"),
        (("--latency-ms", "inf"), "--latency-ms inf given"),
        (("--std", "nan"), "--std nan given; expected finite numbers"),
        (("--out", "x" * 300), "with a part longer than 200 bytes"),
        (("--data", "caf\udce9"), "--data caf\\udce9 given, which is not UTF-8"),
        (("--num-labels", "0"), "--num-labels 0 given; expected 1 or more"),
    ],
)
def test_flags_that_nothing_takes(
    argv: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--model", "a.pt", "--keep", "0.5", *argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_a_nul_in_a_file_of_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "o.toml").write_text('[network]\nmodel = "a\\u0000b"\n[select]\nkeep = 0.5\n')
    assert cli.run(["--config", str(tmp_path / "o.toml")]) == 2
    assert "--model a?b given, which holds a NUL character" in capsys.readouterr().err


def test_a_label_folder_that_is_not_utf8(tmp_path: Path) -> None:
    for label in (b"caf\xe9", b"tea"):
        folder = bytes(tmp_path / "images") + b"/" + label
        os.makedirs(folder)
        Image.new("RGB", (8, 8)).save(os.fsdecode(folder + b"/a.png"))
    with pytest.raises(InputError, match=r"label folder caf.udce9, which is not UTF-8; rename"):
        open_data(str(tmp_path / "images"))


def test_what_a_file_says_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = small_origin().to_dict() | {"arch": "\x1b[2Jevil"}
    state = zoo.build(ARCH, 10).state_dict()
    torch.save({"origin": origin, "state_dict": state}, tmp_path / "x.pt")
    assert cli.run(["evaluate", "--model", str(tmp_path / "x.pt")]) in (2, 3)
    assert "\x1b" not in capsys.readouterr().err
