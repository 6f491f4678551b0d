"""The page's programs with their users: C++, Node.js and a browser give Python's answers."""

import functools
import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from prune_dl.evaluate.report.deployment import snippets
from scenes.cpp_runtime import COMPILER, WITHOUT, can_compile, link_library, paths
from scenes.report_samples import sample_report
from sklearn.datasets import load_sample_image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
NODE, NPM = map(shutil.which, ("node", "npm"))
WIDTH, HEIGHT = 501, 402
ONE_LEVEL = 1.01 / 255 / 0.24
"""Of grey, in a network's inputs: Pillow's filter holds its weights as whole numbers, so that some
halves are rounded to the other side."""
CLOSE = 0.005
"""Of logits, which reach 10 to 30 here: a canvas that scales the picture is off by 0.3 to 0.8."""

MAIN = """
#include <cstdio>
#include <fstream>
#include <iterator>

int main() {
  Ort::Env env;
  Ort::Session session(env, "model.onnx", Ort::SessionOptions{});
  std::ifstream file("pixels.raw", std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto* pixels = reinterpret_cast<const unsigned char*>(bytes.data());
  std::printf("[%d", answer(session, pixels, WIDTH, HEIGHT));
  for (float value : logits_of(session, pixels, WIDTH, HEIGHT)) std::printf(", %.9g", value);
  std::printf("]");
}
"""
STUBS = """
import { readFileSync, writeFileSync } from "node:fs";
class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
const ort = { Tensor };
const pixels = readFileSync("rgba.raw");
globalThis.OffscreenCanvas = class {
  getContext() { return { drawImage() {}, getImageData: () => ({ data: pixels }) }; }
};
const session = { run: async ({ images }) => {
  writeFileSync("input.json", JSON.stringify({ data: [...images.data], dims: images.dims }));
  return { logits: { data: new Float32Array([1, 3, 2]) } };
} };
"""
PAGE = """<!doctype html><meta charset="utf-8"><title>answers</title>
<script type="importmap">{"imports":
  {"onnxruntime-web": "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"}}</script>
<script type="module">
import * as ort from "onnxruntime-web";
import { answer, logitsOf } from "./program.mjs";
ort.env.wasm.numThreads = 1;
let found;
try {
  const session = await ort.InferenceSession.create("model.onnx");
  const blob = await (await fetch("picture.png")).blob();
  const image = await createImageBitmap(
    blob, { imageOrientation: "none", colorSpaceConversion: "none" });
  found = [await answer(session, image), ...await logitsOf(session, image)];
} catch (error) {
  found = String(error);
}
await fetch("answer", { method: "POST", body: JSON.stringify(found) });
</script>
"""


@dataclass(frozen=True)
class Shipped:
    """A folder with a network's file and a picture, its programs, and what Python makes of them."""

    folder: Path
    programs: dict[str, str]
    inputs: NDArray[np.float32]
    logits: NDArray[np.float32]


def write_network(path: Path, size: tuple[int, int, int]) -> None:
    """A convolution and a linear layer with random weights, for ten labels."""
    random = np.random.default_rng(0)
    shapes = {"kernel": (16, size[0], 5, 5), "weight": (16, 10), "bias": (10,)}
    weights = [
        numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["maps"], strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("images", ["N", *size]), ("logits", ["N", 10]))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], weights)
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(model, {"labels": json.dumps(list("abcdefghij"))})
    onnx.save(model, path)


@pytest.fixture(params=["grey 16 x 16", "rgb 32 x 32", "bgr 96 x 80"])
def shipped(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Shipped:
    """Networks with random weights; a photograph, not of their shape and of their size."""
    order, height, _, width = request.param.split()
    size = (1 if order == "grey" else 3, int(height), int(width))
    write_network(tmp_path / "model.onnx", size)
    picture = Image.fromarray(load_sample_image("china.jpg")).crop((0, 0, WIDTH, HEIGHT))
    picture.save(tmp_path / "picture.png")
    report = sample_report()
    model = replace(
        report.model, input_size=size, channel_order="bgr" if order == "bgr" else "rgb",
        mean=report.model.mean[: size[0]], std=report.model.std[: size[0]],
    )  # fmt: skip
    programs = snippets(replace(report, model=model))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(programs["Python"].replace("picture.jpg", "picture.png"), found)
    (tmp_path / "pixels.raw").write_bytes(picture.convert(found["image"].mode).tobytes())
    (tmp_path / "rgba.raw").write_bytes(picture.convert("RGBA").tobytes())
    return Shipped(tmp_path, programs, found["inputs"], found["logits"])


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=paths()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(NODE is None, reason="no node on the PATH")
def test_the_browsers_program_feeds_what_pythons_feeds(shipped: Shipped) -> None:
    """Its arithmetic alone, in Node.js: the pixels are handed to it as a canvas gives them."""
    program = re.sub(r"^import .*", STUBS, shipped.programs["Browser"])
    call = f"console.log(await answer(session, {{ width: {WIDTH}, height: {HEIGHT} }}));"
    (shipped.folder / "program.mjs").write_text(program + call, encoding="utf-8")
    assert run([str(NODE), "program.mjs"], shipped.folder).strip() == "1"
    fed = json.loads((shipped.folder / "input.json").read_text())
    assert tuple(fed["dims"]) == shipped.inputs.shape
    missed = np.abs(np.array(fed["data"]) - shipped.inputs.ravel())
    assert missed.max() < ONE_LEVEL
    assert (missed > 1e-5).mean() < 0.01


@pytest.mark.slow
def test_the_program_in_cpp_gives_pythons_logits(shipped: Shipped) -> None:
    if not can_compile():
        pytest.skip(WITHOUT)
    link_library(shipped.folder)
    (shipped.folder / "program.cpp").write_text(shipped.programs["C++"] + MAIN, encoding="utf-8")
    size = [f"-DWIDTH={WIDTH}", f"-DHEIGHT={HEIGHT}"]
    command = [str(COMPILER), "-std=c++17", "-Wall", "-Werror", *size, "program.cpp"]
    run([*command, "-lonnxruntime", "-o", "program"], shipped.folder)
    label, *logits = json.loads(run(["./program"], shipped.folder))
    assert label == int(shipped.logits.argmax())
    assert np.abs(np.array(logits) - shipped.logits).max() < CLOSE


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and keeps what a page posts."""

    def __init__(self, *args: Any, posted: Queue[str], **options: Any) -> None:
        self.posted = posted
        super().__init__(*args, **options)

    def do_POST(self) -> None:
        self.posted.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal clean."""


def posted_by_page(folder: Path) -> Any:
    """What index.html of a folder posts, as JSON, once headless Chromium has opened it."""
    posted: Queue[str] = Queue()
    handler = functools.partial(Handler, directory=os.fspath(folder), posted=posted)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'u'}"]
        address = f"http://127.0.0.1:{server.server_port}/index.html"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([str(BROWSER), *options, address], **quiet) as browser:
            try:
                return json.loads(posted.get(timeout=120))
            finally:
                browser.terminate()
                server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
@pytest.mark.skipif(NPM is None, reason="no npm on the PATH")
def test_the_program_in_a_browser_gives_pythons_logits(shipped: Shipped) -> None:
    install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-web"]
    run([str(NPM), *install], shipped.folder)
    (shipped.folder / "program.mjs").write_text(shipped.programs["Browser"], encoding="utf-8")
    (shipped.folder / "index.html").write_text(PAGE, encoding="utf-8")
    label, *logits = posted_by_page(shipped.folder)
    assert label == int(shipped.logits.argmax())
    assert np.abs(np.array(logits) - shipped.logits).max() < CLOSE
