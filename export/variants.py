"""Variants of the ONNX file: a fixed batch, raw pixels as input, half precision.

Shapes: N images, C channels, H height, W width, K labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from ..prune.forward import call, evaluating
from ..prune.inputs.split import DataSet
from ..prune.options import ChannelOrder
from ..prune.outputs import logits_of
from ..prune.tasks import EVEN, class_probabilities
from .graph import EXAMPLE_BATCH, OUTPUT_NAME, GraphFormat, export_module
from .parity import PARITY_TOLERANCE, AnswerRule, Parity, check_parity

HALF_TOLERANCE = 2e-2
"""Largest difference allowed in float16, as `PARITY_TOLERANCE` is for float32: half precision keeps
11 bits, so errors of up to 5e-4 a layer add up over a deep network."""
PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Variant:
    """What kind of file to write.

    Attributes:
        opset: version of the ONNX operator set; None is the exporter's own.
        batch_size: fixes the batch; None leaves it free.
        embed_preprocess: the graph takes uint8 pixels (N, H, W, C) and gives probabilities.
        half: weights and arithmetic in float16; inputs and outputs keep their types.
        multi_label: whether an image may have several labels: probabilities are of each by itself.
    """

    opset: int | None = None
    batch_size: int | None = None
    embed_preprocess: bool = False
    half: bool = False
    multi_label: bool = False

    @property
    def rule(self) -> AnswerRule:
        """How answers are read from the file's outputs."""
        threshold = EVEN if self.embed_preprocess else 0.0
        return AnswerRule(self.multi_label, threshold)


@dataclass(frozen=True)
class PixelScale:
    """How pixels become inputs: scaled to 0..1, (x - mean) / std per channel, in some order.

    Attributes:
        mean, std: in the order of the network's channels.
        channel_order: of the network; pixels are red, green, blue.
    """

    mean: Sequence[float]
    std: Sequence[float]
    channel_order: ChannelOrder = "rgb"

    @staticmethod
    def of(data: DataSet) -> "PixelScale":
        """That of a data set."""
        return PixelScale(data.mean, data.std, data.channel_order)

    @property
    def order(self) -> list[int]:
        """Which channel of the pixels each channel of the network is, and the other way round."""
        order = list(range(len(self.mean)))
        return order[::-1] if self.channel_order == "bgr" else order


class Preprocessed(nn.Module):
    """A classifier of raw pixels: uint8 (N, H, W, C) in, probabilities (N, K) float32 out."""

    def __init__(self, model: nn.Module, scale: PixelScale, *, multi_label: bool = False) -> None:
        super().__init__()
        self.model, self.multi_label = model, multi_label
        self.order = scale.order if scale.channel_order == "bgr" else None
        self.scale: Tensor
        self.shift: Tensor
        std_C, mean_C = torch.tensor(scale.std), torch.tensor(scale.mean)
        self.register_buffer("scale", (1 / (255 * std_C)).reshape(-1, 1, 1))
        self.register_buffer("shift", (mean_C / std_C).reshape(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Scale to 0..1, subtract the mean, divide by the deviation, classify, probabilities."""
        ordered = pixels if self.order is None else pixels[..., self.order]
        images = ordered.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return class_probabilities(self.model(images), multi_label=self.multi_label)


def to_pixels(images: Tensor, scale: PixelScale) -> Tensor:
    """The uint8 (N, H, W, C) pixels that normalised images (N, C, H, W) came from.

    Exact for images that were 8-bit before they were normalised.
    """
    mean_C = torch.tensor(scale.mean, device=images.device).reshape(-1, 1, 1)
    std_C = torch.tensor(scale.std, device=images.device).reshape(-1, 1, 1)
    pixels = ((images * std_C + mean_C) * 255).round().clamp(0, 255)[:, scale.order]
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def export_variant(
    model: nn.Module,
    images: Tensor,
    path: Path,
    variant: Variant,
    *,
    scale: PixelScale,
    metadata: Mapping[str, str],
) -> Parity:
    """Write one file of the wanted kind and check it against the network on `images`.

    Args:
        images: (N, C, H, W) float32, normalised with `scale`: real held-out images.

    Raises:
        GateError: the file and the network differ; the file has been removed.
        InputError, UsageError: as `graph.export_onnx`.
    """
    module, inputs = model, images.cpu()
    if variant.embed_preprocess:
        device = next(iter(model.parameters())).device
        module = Preprocessed(model, scale, multi_label=variant.multi_label).to(device)
        inputs = to_pixels(inputs, scale)
    size = (variant.batch_size or EXAMPLE_BATCH, *inputs.shape[1:])
    export_module(
        module,
        torch.zeros(size, dtype=inputs.dtype),
        path,
        _format(variant),
        metadata=dict(metadata) | _describe(variant) | _answer(module, inputs, variant),
        finish=to_half if variant.half else None,
    )
    tolerance = HALF_TOLERANCE if variant.half else PARITY_TOLERANCE
    return check_parity(path, module, inputs, tolerance=tolerance, rule=variant.rule)


def _describe(variant: Variant) -> dict[str, str]:
    return {
        "input_layout": "NHWC uint8 0..255" if variant.embed_preprocess else "NCHW normalised",
        "precision": "float16" if variant.half else "float32",
    }


def _answer(module: nn.Module, inputs: Tensor, variant: Variant) -> dict[str, str]:
    """How the file's outputs are read, in words."""
    device = next(iter(module.parameters())).device
    with evaluating(module):
        columns = logits_of(call(module, inputs[:1].to(device))).shape[1]
    words = "the label of the highest output"
    if variant.multi_label:
        words = f"every label whose output is above {variant.rule.threshold:g}"
    elif columns == 1:
        words = "the second label where the output is above 0, else the first"
    return {"answer": words}


def _format(variant: Variant) -> GraphFormat:
    name = PROBABILITIES if variant.embed_preprocess else OUTPUT_NAME
    return GraphFormat(variant.opset, variant.batch_size, (name,))


def to_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in float16, with the inputs and outputs it had (ONNX Runtime's converter)."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half: onnx.ModelProto = convert_float_to_float16(proto, keep_io_types=True)
    # The converter appends the casts of the inputs; ONNX wants a node after those it reads.
    inputs = {entry.name for entry in half.graph.input}
    nodes = sorted(half.graph.node, key=lambda node: not inputs.intersection(node.input))
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return half
