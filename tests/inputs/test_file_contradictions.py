"""Files that contradict themselves or hold what nobody can use: each is one clear line."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from prune_dl.prune.command import cli
from prune_dl.prune.errors import InputError
from prune_dl.prune.files import write_safetensors
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.pruned_file import load_pruned, save_pruned
from prune_dl.prune.structure.plan import Plan
from prune_dl.prune.typed import from_json
from scenes.model_files import ARCH, as_tensor, read_all, small_origin


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
