"""How to feed the exported file and read its answer: short programs with the network's own values.

They scale and crop a picture as `inputs/decode.py` does.
"""

import json
from typing import TYPE_CHECKING

from ...prune.inputs.decode import CROP_MARGIN, SMALL
from ...prune.scores import MEAN_PRECISION

if TYPE_CHECKING:
    from .lines import ModelLine
    from .report import Report

PYTHON = """\
# pip install numpy onnxruntime pillow
import json

import numpy as np
import onnxruntime
from PIL import Image

CHANNELS, HEIGHT, WIDTH = @C@, @H@, @W@
MEAN = np.array(@MEAN@, dtype=np.float32)
STD = np.array(@STD@, dtype=np.float32)

session = onnxruntime.InferenceSession("model.onnx")
image = Image.open("picture.jpg").convert("@MODE@")
if image.size != (WIDTH, HEIGHT):
    scale = @MARGIN@ * max(WIDTH / image.width, HEIGHT / image.height)
    size = max(WIDTH, round(image.width * scale)), max(HEIGHT, round(image.height * scale))
    left, top = round((size[0] - WIDTH) / 2), round((size[1] - HEIGHT) / 2)
    image = image.resize(size, Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + WIDTH, top + HEIGHT))
pixels = np.asarray(image, dtype=np.float32).reshape(HEIGHT, WIDTH, CHANNELS) / 255
inputs = ((pixels@REVERSED@ - MEAN) / STD).transpose(2, 0, 1)[None]
logits = session.run(None, {"images": inputs})[0][0]
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
@ANSWER@
"""
PYTHON_ONE = "print(labels[int(logits.argmax()) if len(logits) > 1 else int(logits[0] > 0)])"
PYTHON_SEVERAL = "print([label for label, value in zip(labels, logits) if value > 0])"

CPP = """\
// g++ -std=c++17 -I<headers of ONNX Runtime> program.cpp -lonnxruntime
// Ort::Env env; Ort::Session session(env, "model.onnx", Ort::SessionOptions{});
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>
#include <onnxruntime_cxx_api.h>

struct Taps { int from; std::vector<double> weights; };

// Pillow's bilinear filter along one axis: the middle `count` of `size`, from `length` pixels.
std::vector<Taps> filter(int length, int size, int count) {
  const double step = double(length) / size, reach = std::max(1.0, step);
  const double first = std::nearbyint((size - count) / 2.0);
  std::vector<Taps> found(count);
  for (int i = 0; i < count; ++i) {
    const double centre = (first + i + 0.5) * step;
    found[i].from = std::max(0, int(centre - reach + 0.5));
    double sum = 0;
    for (int k = found[i].from; k < std::min(length, int(centre + reach + 0.5)); ++k) {
      found[i].weights.push_back(std::max(0.0, 1 - std::abs(k + 0.5 - centre) / reach));
      sum += found[i].weights.back();
    }
    for (double& weight : found[i].weights) weight /= sum;
  }
  return found;
}

unsigned char filtered(const Taps& taps, const unsigned char* first, int stride) {
  double sum = 0.5;
  for (std::size_t k = 0; k < taps.weights.size(); ++k)
    sum += taps.weights[k] * first[(taps.from + k) * stride];
  return static_cast<unsigned char>(sum);
}

// pixels: width x height of @COLOURS@, 0 to 255, row by row.
std::vector<float> logits_of(
    Ort::Session& session, const unsigned char* pixels, int width, int height) {
  constexpr int C = @C@, H = @H@, W = @W@;
  constexpr float mean[C] = {@MEAN_LIST@}, deviation[C] = {@STD_LIST@};
  constexpr int order[C] = {@ORDER_LIST@};
  const double scale = width == W && height == H ? 1
      : @MARGIN@ * std::max(double(W) / width, double(H) / height);
  const auto columns = filter(width, std::max(W, int(std::nearbyint(width * scale))), W);
  const auto rows = filter(height, std::max(H, int(std::nearbyint(height * scale))), H);
  std::vector<float> input(C * H * W);
  std::vector<unsigned char> narrow(static_cast<std::size_t>(height) * W);
  for (int c = 0; c < C; ++c) {
    for (std::size_t i = 0; i < narrow.size(); ++i)
      narrow[i] = filtered(columns[i % W], pixels + i / W * width * C + order[c], C);
    for (int i = 0; i < H * W; ++i)
      input[c * H * W + i] =
          (filtered(rows[i / W], narrow.data() + i % W, W) / 255.0f - mean[c]) / deviation[c];
  }
  const std::array<int64_t, 4> shape{1, C, H, W};
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto tensor = Ort::Value::CreateTensor<float>(
      memory, input.data(), input.size(), shape.data(), shape.size());
  const char* takes[] = {"images"};
  const char* gives[] = {"logits"};
  auto outputs = session.Run(Ort::RunOptions{nullptr}, takes, &tensor, 1, gives, 1);
  const float* found = outputs[0].GetTensorData<float>();
  return {found, found + outputs[0].GetTensorTypeAndShapeInfo().GetElementCount()};
}

// Returns @WHAT@.
@RETURNS@ answer(Ort::Session& session, const unsigned char* pixels, int width, int height) {
  const std::vector<float> logits = logits_of(session, pixels, width, height);
@ANSWER@
}
"""
CPP_ONE = """\
  if (logits.size() == 1) return logits[0] > 0 ? 1 : 0;
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());"""
CPP_SEVERAL = """\
  std::vector<int> found;
  for (std::size_t k = 0; k < logits.size(); ++k)
    if (logits[k] > 0) found.push_back(static_cast<int>(k));
  return found;"""

BROWSER = """\
import * as ort from "onnxruntime-web";

const [C, H, W] = [@C@, @H@, @W@], MEAN = @MEAN@, STD = @STD@, ORDER = @ORDER@;

// Python's rounding: halves go to the even number.
const even = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

// Pillow's bilinear filter along one axis: the middle `count` of `size`, from `length` pixels.
function filter(length, size, count) {
  const step = length / size, reach = Math.max(1, step), first = even((size - count) / 2);
  return Array.from({ length: count }, (_, i) => {
    const centre = (first + i + 0.5) * step, from = Math.max(0, Math.trunc(centre - reach + 0.5));
    const to = Math.min(length, Math.trunc(centre + reach + 0.5));
    const weights = Array.from({ length: to - from }, (_, k) =>
      Math.max(0, 1 - Math.abs(from + k + 0.5 - centre) / reach));
    const sum = weights.reduce((a, b) => a + b);
    return { from, weights: weights.map((weight) => weight / sum) };
  });
}

function filtered({ from, weights }, value) {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k] * value(from + k);
  return Math.round(sum);
}

// session: await ort.InferenceSession.create("model.onnx")
// image: await createImageBitmap(file, { imageOrientation: "none", colorSpaceConversion: "none" })
export async function logitsOf(session, image) {
  const { width, height } = image;
  const paint = new OffscreenCanvas(width, height).getContext("2d");
  paint.drawImage(image, 0, 0);
  const pixels = paint.getImageData(0, 0, width, height).data;  // red, green, blue, alpha
  const value = (i, c) => C === 3 ? pixels[4 * i + ORDER[c]]
    : Math.round(0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2]);
  const scale = width === W && height === H ? 1 : @MARGIN@ * Math.max(W / width, H / height);
  const columns = filter(width, Math.max(W, even(width * scale)), W);
  const rows = filter(height, Math.max(H, even(height * scale)), H);
  const input = new Float32Array(C * H * W), narrow = new Uint8Array(height * W);
  for (let c = 0; c < C; c++) {
    for (let y = 0; y < height; y++)
      for (let x = 0; x < W; x++)
        narrow[y * W + x] = filtered(columns[x], (k) => value(y * width + k, c));
    for (let i = 0; i < H * W; i++) {
      const pixel = filtered(rows[Math.floor(i / W)], (k) => narrow[k * W + i % W]);
      input[c * H * W + i] = (pixel / 255 - MEAN[c]) / STD[c];
    }
  }
  const outputs = await session.run({ images: new ort.Tensor("float32", input, [1, C, H, W]) });
  return [...outputs.logits.data];
}

// Returns @WHAT@.
export async function answer(session, image) {
  const logits = await logitsOf(session, image);
@ANSWER@
}
"""
BROWSER_ONE = """\
  return logits.length === 1 ? Number(logits[0] > 0) : logits.indexOf(Math.max(...logits));"""
BROWSER_SEVERAL = "  return logits.flatMap((value, k) => (value > 0 ? [k] : []));"


def snippets(report: "Report") -> dict[str, str]:
    """Programs by language; none where the scale or the size of the inputs is not known, nor of
    networks without labels, whose outputs only their users can read."""
    model = report.model
    if not model.num_labels:
        return {}
    if len(model.input_size) != 3 or model.input_size[0] not in (1, 3):
        return {}
    if len(model.mean) != model.input_size[0] or len(model.std) != len(model.mean):
        return {}
    name = (report.held_out.name, report.accuracy.name)
    several = any(MEAN_PRECISION in text for text in name)
    parts = (
        ("Python", PYTHON, PYTHON_SEVERAL if several else PYTHON_ONE),
        ("C++", CPP, CPP_SEVERAL if several else CPP_ONE),
        ("Browser", BROWSER, BROWSER_SEVERAL if several else BROWSER_ONE),
    )
    values = _values(model, several)
    return {
        language: _filled(program.replace("@ANSWER@", answer), values)
        for language, program, answer in parts
    }


def _values(model: "ModelLine", several: bool) -> dict[str, str]:
    channels, height, width = model.input_size
    is_bgr = model.channel_order == "bgr" and channels == 3
    order = [2, 1, 0][:channels] if is_bgr else list(range(channels))
    margin = 1.0 if max(height, width) <= SMALL else CROP_MARGIN
    mean, std = ([float(f"{x:.6g}") for x in values] for values in (model.mean, model.std))
    return {
        "C": str(channels),
        "H": str(height),
        "W": str(width),
        "MEAN": json.dumps(mean),
        "STD": json.dumps(std),
        "ORDER": json.dumps(order),
        "MEAN_LIST": ", ".join(f"{x!r}f" for x in mean),
        "STD_LIST": ", ".join(f"{x!r}f" for x in std),
        "ORDER_LIST": ", ".join(map(str, order)),
        "MODE": "RGB" if channels == 3 else "L",
        "COLOURS": "red, green and blue" if channels == 3 else "grey",
        "REVERSED": "[..., ::-1]" if is_bgr else "",
        "MARGIN": f"{margin:.6g}",
        "RETURNS": "std::vector<int>" if several else "int",
        "WHAT": "the positions of all labels that are there" if several else "the label's position",
    }


def _filled(program: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        program = program.replace(f"@{name}@", value)
    return program
