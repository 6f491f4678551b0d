"""Torch-Pruning, a development dependency, as its users run it: after its own examples.

- transformers/prune_timm_vit.py: `num_heads` of attention, sizes stated again afterwards;
- torchvision_models/torchvision_pruning.py: L1 norm, output layers, `round_to` and width of a ViT;
- timm_models/prune_timm_models.py: plain attention (`TIMM_FUSED_ATTN=0`), one image.

Its repository: https://github.com/VainF/Torch-Pruning.
"""

from collections.abc import Iterator
from typing import Any

PROJECTIONS = (
    *("qkv", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj", "qkv_proj", "to_q", "to_kv"),
    *("to_qkv", "query", "key", "value", "q_lin", "k_lin", "v_lin"),
)
"""Names of the layers of an attention module whose output channels are heads."""
NUM_CLASSES = 1000


def prune(model: Any, images: Any, share: float) -> None:
    """Prune a network in place, with what its users give: output layers, heads, rounding."""
    import torch_pruning as tp
    from torchvision.models.vision_transformer import VisionTransformer

    is_vit = isinstance(model, VisionTransformer)
    pruner = tp.pruner.MagnitudePruner(
        model,
        images,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=share,
        ignored_layers=list(_output_layers(model)),
        num_heads={layer: heads for _, layer, heads in _heads(model)},
        in_channel_groups={},  # its defaults are dictionaries that all pruners share
        out_channel_groups={},
        channel_groups={},
        round_to=model.encoder.layers[0].num_heads if is_vit else None,
    )
    pruner.step()
    if is_vit:
        model.hidden_dim = model.conv_proj.out_channels
    for attention, layer, _ in _heads(model):
        _state_sizes(attention, layer, pruner.num_heads.get(layer))


def _output_layers(model: Any) -> Iterator[Any]:
    from torch import nn

    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.out_features == NUM_CLASSES:
            yield layer
        if isinstance(layer, nn.Conv2d) and layer.out_channels == NUM_CLASSES:
            yield layer


def _heads(model: Any) -> Iterator[tuple[Any, Any, int]]:
    """Attention modules, each of their projections to heads, and the number of heads."""
    from torch import nn

    for module in model.modules():
        heads = getattr(module, "num_heads", None)
        if type(heads) is int and not isinstance(module, nn.MultiheadAttention):
            for name in PROJECTIONS:
                layer = getattr(module, name, None)
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    yield module, layer, heads


def _state_sizes(attention: Any, layer: Any, heads: int | None) -> None:
    """Set the widths that the attention module states, as the examples do by hand."""
    heads = heads or attention.num_heads
    times = 3 if layer in (getattr(attention, name, None) for name in ("qkv", "qkv_proj")) else 1
    width = getattr(layer, "out_features", None) or layer.out_channels
    attention.num_heads = heads
    for name, value in (("head_dim", width // (times * heads)), ("attn_dim", width // times)):
        if type(getattr(attention, name, None)) is int:
            setattr(attention, name, value)
