"""A stranger's file is data: opening it imports no module, runs no command, downloads nothing."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune import load
from prune_dl.prune.command import cli
from prune_dl.prune.errors import InputError, PruneError
from prune_dl.prune.inputs import callables, zoo
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from safetensors.torch import save_file

STAGE = re.compile(r"(\[ *\d+/\d+\] )?[a-z ]+: [\d.]+ m?s")
"""The line of a stage that is finished."""
ARCH = "vgg6:width=0.03,in_channels=1"
OWN = "from prune_dl.prune.inputs.zoo import build\nopen('RAN', 'w').close()\n" + (
    "def network(num_labels): return build('vgg6:width=0.03,in_channels=1', num_labels)\n"
    "def data(): raise SystemExit('the code of a file ran')\n"
    "def score(filters): return filters.abs().amin(dim=1)\n"
)


@pytest.fixture(autouse=True)
def no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a module that tells when it is imported, and a shell that tells of commands."""
    (tmp_path / "evilmod.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda command: Path("RAN").touch())
    yield
    import sys

    sys.modules.pop("evilmod", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def origin(arch: str | None, data: str | None = "digits") -> dict[str, Any]:
    return {
        "arch": arch, "num_labels": 10, "data": data, "labels": [], "input_size": [1, 16, 16],
        "mean": [0.5], "std": [0.5],
    }  # fmt: skip


def weights() -> dict[str, torch.Tensor]:
    return {k: v.contiguous() for k, v in zoo.build(ARCH, 10, seed=0).state_dict().items()}


def as_pt(path: Path, arch: str, data: str) -> Path:
    torch.save({"origin": origin(arch, data), "state_dict": weights()}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def as_safetensors(path: Path, arch: str, data: str) -> Path:
    metadata = {"format": "prune-dl", "version": "1", "notes": "{}"}
    metadata["origin"] = json.dumps(origin(arch, data))
    save_file(weights(), path.with_suffix(".safetensors"), metadata)
    return path.with_suffix(".safetensors")


FORMS = pytest.mark.parametrize("write", [as_pt, as_safetensors])
Write = Callable[[Path, str, str], Path]
CODE = [
    "os:system:command=touch RAN",
    "evilmod:network",
    "timm:hf-hub:someone/net",
    "timm:local-dir:/tmp/x",
    "torchvision:resnet18:weights=DEFAULT",
    "timm:resnet18:checkpoint_path=evil.pth",
    "timm:resnet18:pretrained=true",
    "vgg6:width=1e9",
    "vgg6:width=nan",
    "vgg6:in_channels=true",
    "avgg16:early_pools=-1",
]


@FORMS
@pytest.mark.parametrize("arch", CODE)
def test_a_file_names_no_code_and_no_unknown_option(write: Write, arch: str) -> None:
    path = write(Path("evil"), arch, "digits")
    with pytest.raises(InputError, match=r"the file names the architecture .*`arch"):
        load_checkpoint(str(path))
    if path.suffix == ".safetensors":
        with pytest.raises(InputError, match="`trust_file`"):
            load(path)
    assert not Path("RAN").exists()


@FORMS
@pytest.mark.parametrize(
    ("arch", "data", "said"),
    [
        ("os:system:command=touch RAN", "digits", "give --arch os:system:command=touch RAN"),
        (ARCH, "evilmod:data", "give --data evilmod:data, or --trust-file"),
        (ARCH, "cifar100", "give --data cifar100 to download"),
        (ARCH, "images", "give --data"),
        (ARCH, "//server/share", "give --data"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "export", "rank", "sweep", ""])
def test_no_command_follows_a_file_further_than_to_its_words(
    write: Write, arch: str, data: str, said: str, command: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PRUNE_DL_DATA", str(Path("nothing").resolve()))
    path = write(Path("evil"), arch, data)
    keep = ("--keep", "0.5") if command in ("", "sweep") else ()
    out = () if command == "evaluate" else ("--out", "out")
    words = (*filter(None, [command]), "--model", str(path), *keep, *out)
    assert cli.run(list(words)) == 3
    told = capsys.readouterr().err.strip().splitlines()
    (line,) = (text for text in told if not STAGE.fullmatch(text))
    assert said in line
    assert not Path("RAN").exists()


@FORMS
def test_the_same_name_from_the_user_is_the_users_own(write: Write) -> None:
    path = write(Path("own"), "evilmod:network", "digits")
    found = load_checkpoint(str(path), arch="evilmod:network")
    assert Path("RAN").exists()
    assert found.origin.data == "digits"
    assert found.knows_inputs


@FORMS
def test_a_trusted_file_is_taken_at_its_word(write: Write) -> None:
    path = write(Path("own"), "evilmod:network", "digits")
    assert load_checkpoint(str(path), trust_file=True).origin.arch == "evilmod:network"
    assert Path("RAN").exists()
    if path.suffix == ".safetensors":
        assert isinstance(load(path, trust_file=True), torch.nn.Module)


def test_the_flag_trusts_the_data_of_a_file_too(capsys: pytest.CaptureFixture[str]) -> None:
    path = as_pt(Path("own"), ARCH, "evilmod:data")
    with pytest.raises(SystemExit, match="the code of a file ran"):
        cli.run(["evaluate", "--model", str(path), "--trust-file"])
    with pytest.raises(SystemExit, match="the code of a file ran"):
        cli.run(["evaluate", "--model", str(path), "--data", "evilmod:data"])


def test_only_what_is_trusted_reaches_the_importer() -> None:
    """The importer takes no text, and a plain text never becomes what it takes."""
    with pytest.raises(AssertionError):
        zoo._build(zoo.parse_arch("evilmod:network"), 10)
    assert zoo.parse_arch(Trusted("evilmod:network")).code == Trusted("evilmod:network")
    with pytest.raises(InputError):
        open_data("evilmod:data")
    assert callables.import_callable.__annotations__["trusted"] is Trusted


@pytest.mark.parametrize(
    "arch", [ARCH, "torchvision:squeezenet1_1:in_channels=1", "torchvision:googlenet:"]
)
def test_networks_of_zoo_and_libraries_need_no_consent(arch: str) -> None:
    zoo.build_empty(arch.rstrip(":"), 10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network": {"model": "evilmod:network"}}, "names --model evilmod:network, which runs"),
        ({"network": {"model": "a.pt", "arch": "os:system:command=touch RAN"}}, "names --arch"),
        ({"network": {"model": "a.pt", "arch": "vgg6:width=1e9"}}, "width=1000000000.0"),
        ({"network": {"model": "a.pt"}, "data": {"data": "evilmod:data"}}, "names --data"),
        ({"network": {"model": "a.pt"}, "data": {"data": "cifar100"}}, "type it yourself to down"),
        ({"network": {"model": "timm:resnet18"}}, "type it yourself to download"),
        ({"network": {"model": "a.pt"}, "select": {"rank": "evilmod:score"}}, "names --rank"),
        ({"network": {"model": "a.pt", "trust_pickle": True}}, "gives --trust-pickle"),
        ({"network": {"model": "a.pt", "trust_file": True}}, "gives --trust-file"),
    ],
)
@pytest.mark.parametrize("form", ["run.json", "options.toml"])
def test_a_file_of_options_is_data_too(
    options: dict[str, Any], said: str, form: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PRUNE_DL_DATA", str(Path("nothing").resolve()))
    tables = "\n".join(
        f"[{table}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items())
        for table, values in options.items()
    )
    is_json = form.endswith("json")
    Path(form).write_text(json.dumps({"command": "", "options": options}) if is_json else tables)
    assert cli.run(["--config", form, "--keep", "0.5"]) in (2, 3)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not Path("RAN").exists()


def test_a_flag_beside_a_file_of_options_is_the_users_own_word() -> None:
    options = {"network": {"model": "a.pt"}, "select": {"rank": "evilmod:score", "keep": 0.5}}
    Path("run.json").write_text(json.dumps({"command": "", "options": options}))
    for words in (["--rank", "evilmod:score"], ["--trust-file"]):
        parsed = cli.parse(["--config", "run.json", *words])
        assert parsed.select.rank == "evilmod:score"


def test_a_folder_that_a_file_names_is_read_and_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from PIL import Image

    for label in range(10):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for place in range(10):
            file = tmp_path / "images" / str(label) / f"{place}.png"
            Image.new("L", (16, 16), 20 * label + place).save(file)
    path = as_safetensors(tmp_path / "own", ARCH, str(tmp_path / "images"))
    assert cli.run(["evaluate", "--model", str(path), "--json"]) == 0
    assert f"data: {tmp_path / 'images'}, which the model file names" in capsys.readouterr().err


def test_a_state_to_resume_from_runs_no_code(tmp_path: Path) -> None:
    from prune_dl.prune.training.recipe import Training
    from prune_dl.prune.training.state import Length, load_state, start_training

    class Command:
        def __reduce__(self) -> Any:
            return os.mkdir, ("RAN",)

    torch.save({"recipe": Command()}, tmp_path / "retraining.pt")
    training = Training(epochs=1)
    state = start_training(zoo.build(ARCH, 10), training, Length.of(training, 256))
    with pytest.raises(PruneError, match="is not the state of this training"):
        load_state(tmp_path / "retraining.pt", state)
    assert not Path("RAN").exists()
