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
#include <algorithm>
#include <array>
#include <vector>
#include <onnxruntime_cxx_api.h>

// pixels: @W@ x @H@ of @COLOURS@, 0 to 255, row by row; already scaled and cropped to that size.
// Returns @WHAT@.
@RETURNS@ answer(Ort::Session& session, const unsigned char* pixels) {
  constexpr int C = @C@, H = @H@, W = @W@;
  constexpr float mean[C] = {@MEAN_LIST@}, deviation[C] = {@STD_LIST@};
  constexpr int order[C] = {@ORDER_LIST@};
  std::vector<float> input(C * H * W);
  for (int c = 0; c < C; ++c)
    for (int i = 0; i < H * W; ++i)
      input[c * H * W + i] = (pixels[i * C + order[c]] / 255.0f - mean[c]) / deviation[c];
  const std::array<int64_t, 4> shape{1, C, H, W};
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto tensor = Ort::Value::CreateTensor<float>(
      memory, input.data(), input.size(), shape.data(), shape.size());
  const char* takes[] = {"images"};
  const char* gives[] = {"logits"};
  auto outputs = session.Run(Ort::RunOptions{nullptr}, takes, &tensor, 1, gives, 1);
  const float* logits = outputs[0].GetTensorData<float>();
  const size_t size = outputs[0].GetTensorTypeAndShapeInfo().GetElementCount();
@ANSWER@
}
"""
CPP_ONE = """\
  if (size == 1) return logits[0] > 0 ? 1 : 0;
  return static_cast<int>(std::max_element(logits, logits + size) - logits);"""
CPP_SEVERAL = """\
  std::vector<int> found;
  for (size_t k = 0; k < size; ++k)
    if (logits[k] > 0) found.push_back(static_cast<int>(k));
  return found;"""

BROWSER = """\
import * as ort from "onnxruntime-web";

const [C, H, W] = [@C@, @H@, @W@], MEAN = @MEAN@, STD = @STD@, ORDER = @ORDER@;

// session: await ort.InferenceSession.create("model.onnx"); image: an ImageBitmap.
// Returns @WHAT@.
export async function answer(session, image) {
  const canvas = new OffscreenCanvas(W, H), paint = canvas.getContext("2d");
  const scale = image.width === W && image.height === H ? 1
    : @MARGIN@ * Math.max(W / image.width, H / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  paint.imageSmoothingQuality = "high";
  paint.drawImage(image, (W - width) / 2, (H - height) / 2, width, height);
  const pixels = paint.getImageData(0, 0, W, H).data;  // red, green, blue, alpha
  const value = (i, c) => C === 3 ? pixels[4 * i + ORDER[c]]
    : 0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2];
  const input = new Float32Array(C * H * W);
  for (let c = 0; c < C; c++)
    for (let i = 0; i < H * W; i++) input[c * H * W + i] = (value(i, c) / 255 - MEAN[c]) / STD[c];
  const outputs = await session.run({ images: new ort.Tensor("float32", input, [1, C, H, W]) });
  const logits = [...outputs.logits.data];
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
        "MARGIN": "1.0" if max(height, width) <= SMALL else f"{CROP_MARGIN:.6g}",
        "RETURNS": "std::vector<int>" if several else "int",
        "WHAT": "the positions of all labels that are there" if several else "the label's position",
    }


def _filled(program: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        program = program.replace(f"@{name}@", value)
    return program
