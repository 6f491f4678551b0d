"""The files in the hands of their users: a process without torch, and a browser."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from prune_dl.export.session import open_session, run_session
from prune_dl.export.variants import PixelScale, Variant, export_variant, to_pixels
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.data import open_data
from torch import nn

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
NPM = shutil.which("npm")
NUM_DIGITS = 60

CONSUMER = """
import json, sys
import numpy as np
import onnxruntime

path, inputs = sys.argv[1:]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
(outputs,) = session.run(None, {"images": np.load(inputs)})
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "prune_dl")]
metadata = session.get_modelmeta().custom_metadata_map
print(json.dumps({"labels": outputs.argmax(1).tolist(), "metadata": metadata}))
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, shared_convolutions: nn.Sequential) -> Path:
    """A folder with both kinds of file and their inputs, from a network that knows digits."""
    folder = tmp_path_factory.mktemp("digits")
    data = open_data("digits")
    images, labels = next(data.test.batches(NUM_DIGITS, device="cpu", limit=NUM_DIGITS))
    pixels = to_pixels(images, PixelScale.of(data))
    for name, variant in (("plain", Variant()), ("raw", Variant(embed_preprocess=True))):
        export_variant(
            shared_convolutions, images, folder / f"{name}.onnx", variant,
            scale=PixelScale(data.mean, data.std), metadata={"labels": json.dumps(data.labels)},
        )  # fmt: skip
    np.save(folder / "plain.npy", images.numpy())
    np.save(folder / "raw.npy", pixels.numpy())
    np.save(folder / "labels.npy", labels.numpy())
    return folder


@pytest.mark.parametrize("name", ["plain", "raw"])
def test_a_process_without_torch_gives_the_same_labels(digits: Path, name: str) -> None:
    command = [sys.executable, "-c", CONSUMER, digits / f"{name}.onnx", digits / f"{name}.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    expected = run_session(open_session(digits / "plain.onnx"), np.load(digits / "plain.npy"))
    assert answer["labels"] == expected.argmax(1).tolist()
    right = np.mean(np.array(answer["labels"]) == np.load(digits / "labels.npy"))
    assert right > 0.8
    assert len(json.loads(answer["metadata"]["labels"])) == 10


def test_timing_files_needs_no_torch() -> None:
    code = "import sys, prune_dl.evaluate.measure.latency; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The example as its README says, command by command, on a local server."""
    demo, model = tmp_path / "demo", tmp_path / "model.onnx"
    assert cli.run(["demo", "--out", str(demo), "--json"]) == 0
    export = ["export", "--model", str(demo / "pruned"), "--data", "digits", "--embed-preprocess"]
    assert cli.run([*export, "--out", str(model), "--json"]) == 0
    for name in ("index.html", "package.json"):
        shutil.copy(EXAMPLE / name, tmp_path)
    script = [sys.executable, EXAMPLE / "write_digits.py", "--out", tmp_path / "digits.json"]
    subprocess.run([*script, "--images", str(NUM_DIGITS)], check=True, capture_output=True)
    install = [str(NPM), "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    handler = functools.partial(QuietHandler, directory=os.fspath(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal clean."""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
@pytest.mark.skipif(NPM is None, reason="no npm on the PATH")
def test_the_example_page_gives_the_labels_of_python(site: str, tmp_path: Path) -> None:
    dom = open_page(site, tmp_path)
    assert 'data-state="done"' in dom, dom[-2000:]
    found = [int(label) for label in re.findall(r'data-label="(\d+)"', dom)]
    digits = json.loads((tmp_path / "digits.json").read_text())
    shape = (NUM_DIGITS, digits["height"], digits["width"], 1)
    pixels = np.array(digits["pixels"], np.uint8).reshape(shape)
    probabilities = run_session(open_session(tmp_path / "model.onnx"), pixels)
    assert found == probabilities.argmax(1).tolist()
    right = sum(label == truth for label, truth in zip(found, digits["labels"], strict=True))
    assert right > 0.8 * NUM_DIGITS
    shown = [int(share) for share in re.findall(r"\((\d+) %\)", dom)]
    assert np.abs(np.array(shown) - 100 * probabilities.max(1)).max() <= 1

    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    assert 'data-state="failed"' in open_page(site, tmp_path)


def open_page(site: str, folder: Path) -> str:
    """The page's document in headless Chromium after its script has run."""
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"),
        *("--virtual-time-budget=60000", f"--user-data-dir={folder / 'profile'}"),
        *("--dump-dom", site),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return done.stdout
