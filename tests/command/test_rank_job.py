"""`prune-dl rank`: the probes, the filters that a budget keeps, and flags that do not fit."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.files import load_spectrum
from torch import nn

ARCH = "vgg6:in_channels=1,width=0.125"
ONE_LAYER = "test_rank_job:one_layer"


def one_layer(num_labels: int) -> nn.Module:
    """A network whose only filters are its outputs: none can go."""
    return nn.Sequential(nn.Conv2d(1, num_labels, 16), nn.Flatten())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained network, digits.pt, and what the three probes say of it."""
    folder = tmp_path_factory.mktemp("rank")
    torch.manual_seed(0)
    data = open_data("digits")
    origin = Origin(ARCH, 10, "digits", data.labels, data.input_size, data.mean, data.std)
    save_checkpoint(folder / "digits.pt", build(ARCH, 10), origin)
    assert rank(folder, "ridge", "--keep", "0.5") == 0
    assert rank(folder, "softmax", "--probe", "softmax") == 0
    assert rank(folder, "sgd", "--probe", "sgd", "--probe-epochs", "8") == 0
    return folder


def rank(folder: Path, out: str, *flags: str) -> int:
    """The command on the fixture's network."""
    return cli.run(
        ["rank", "--model", str(folder / "digits.pt"), *flags, "--out", f"{folder}/{out}"]
    )


def test_the_files_say_which_probe_was_asked(home: Path) -> None:
    spectra = {
        name: load_spectrum(home / name / "spectrum.safetensors")
        for name in ("ridge", "softmax", "sgd")
    }
    assert spectra["ridge"].probe == "ridge"
    assert spectra["softmax"].probe == "softmax (epochs: 40)"
    assert spectra["sgd"].probe == "sgd (epochs: 8)"
    for name, spectrum in spectra.items():
        assert f"probe: {spectrum.probe}" in (home / name / "filters.html").read_text()
        assert json.loads((home / name / "run.json").read_text())["options"]["probe"] == name


def test_the_published_probe_reads_whole_maps_and_the_fast_one_a_grid(home: Path) -> None:
    large = ("--input-size", "64", "--images", "200")
    assert rank(home, "grid", *large) == 0
    assert rank(home, "map", *large, "--probe", "sgd", "--probe-epochs", "1") == 0
    spectra = (load_spectrum(home / name / "spectrum.safetensors") for name in ("map", "grid"))
    slow, fast = (spectrum.groups[0] for spectrum in spectra)
    assert slow is not None
    assert fast is not None
    # 8 filters after a 2 x 2 pool of 64 x 64 pixels: 8,192 features, of which a grid holds 2,048.
    assert slow.weights_UKQ.shape == (8, 10, 32 * 32)
    assert fast.weights_UKQ.shape == (8, 10, 16 * 16)


def test_the_published_probe_learns_labels_and_is_not_the_fast_one(home: Path) -> None:
    slow, fast = (load_spectrum(home / name / "spectrum.safetensors") for name in ("sgd", "ridge"))
    assert slow.groups[0] is not None
    assert fast.groups[0] is not None
    assert not torch.allclose(slow.groups[0].weights_UKQ, fast.groups[0].weights_UKQ)
    assert max(point.success_rate for point in slow.depth) > 0.3


def test_the_softmax_probe_learns_for_the_epochs_asked_and_gives_the_same_again(
    home: Path,
) -> None:
    flags = ("--probe", "softmax", "--probe-epochs", "2", "--images", "200")
    for out in ("d", "e"):
        assert rank(home, out, *flags) == 0
    first, second = (load_spectrum(home / out / "spectrum.safetensors") for out in ("d", "e"))
    assert rank(home, "one-epoch", "--probe", "softmax", "--probe-epochs", "1", *flags[4:]) == 0
    shorter = load_spectrum(home / "one-epoch" / "spectrum.safetensors")
    assert first.probe == "softmax (epochs: 2)"
    assert first.groups[0] is not None
    assert second.groups[0] is not None
    assert shorter.groups[0] is not None
    assert torch.equal(first.groups[0].weights_UKQ, second.groups[0].weights_UKQ)
    assert not torch.equal(first.groups[0].weights_UKQ, shorter.groups[0].weights_UKQ)


def test_the_seed_decides_the_published_probe(home: Path) -> None:
    flags = ("--probe", "sgd", "--probe-epochs", "1", "--images", "100")
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert rank(home, out, *flags, "--seed", seed) == 0
    first, same, other = (
        load_spectrum(home / out / "spectrum.safetensors").groups[0] for out in ("a", "b", "c")
    )
    assert first is not None
    assert same is not None
    assert other is not None
    assert torch.equal(first.weights_UKQ, same.weights_UKQ)
    assert not torch.equal(first.weights_UKQ, other.weights_UKQ)


def test_rank_lists_every_filter_of_the_network(
    trained_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "ranked", str(trained_file)
    assert cli.run(["rank", "--model", model, "--out", str(out), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    with (out / "filters.csv").open() as file:
        rows = [(row["layer"], int(row["filter"])) for row in csv.DictReader(file)]
    modules = load_checkpoint(model).model.named_modules()
    widths = {name: m.out_channels for name, m in modules if isinstance(m, nn.Conv2d)}
    assert {layer["layer"]: layer["filters"] for layer in layers} == widths
    assert rows == [(name, number) for name, width in widths.items() for number in range(width)]
    assert {path.name for path in out.iterdir()} == {
        *("filters.csv", "filters.html", "run.json", "spectrum.safetensors"),
    }


def test_a_budget_marks_the_filters_it_would_keep(home: Path) -> None:
    with (home / "ridge" / "filters.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {
        *("layer", "filter", "clusters", "sharpness", "snr", "signal", "norm", "score", "kept"),
    }
    assert sum(row["kept"] == "yes" for row in rows) == round(0.5 * len(rows))
    for layer in {row["layer"] for row in rows}:
        scores = {
            kept: [float(r["score"]) for r in rows if (r["layer"], r["kept"]) == (layer, kept)]
            for kept in ("yes", "no")
        }
        assert min(scores["yes"]) >= max(scores["no"], default=-np.inf)


def test_without_a_budget_nothing_is_marked(home: Path) -> None:
    with (home / "sgd" / "filters.csv").open() as file:
        assert {row["kept"] for row in csv.DictReader(file)} == {""}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--probe-epochs", "5"), "add --probe softmax or --probe sgd"),
        (("--probe", "sgd", "--probe-epochs", "0"), "--probe-epochs 0 given; expected"),
        (("--probe", "lda"), "lda"),
        (("--images", "0"), "--images 0 given"),
        (("--keep", "1.5"), "--keep 1.5 given"),
        (("--keep", "0.5", "--macs", "0.5"), "give one of"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_any_work(
    home: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert rank(home, "refused", *flags) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(home.glob("*refused*"))


def test_a_network_without_removable_filters_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["rank", "--model", ONE_LAYER, "--num-labels", "10", "--data", "digits"]
    assert cli.run([*argv, "--out", str(tmp_path / "out")]) == 3
    assert "no filter of this network can be removed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
