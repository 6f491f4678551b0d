"""Whole attention heads go, or as much width inside each; the scale of attention stays."""

import torch
from prune_dl.prune.inputs import pruned_file
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from scenes import structure_zoo as zoo
from scenes.attention import Attention, transformer
from scenes.plans import layers_of, random_plan
from torch import Tensor, nn


def traced(attention: nn.Module) -> tuple[nn.Module, Structure]:
    torch.manual_seed(0)
    model = zoo.randomise(transformer(attention))
    return model, trace(model, zoo.images())


def test_heads_are_units_and_the_stated_sizes_follow() -> None:
    model, structure = traced(Attention(24, 4))
    assert layers_of(structure)["attention.qkv"] == 4
    plan = random_plan(structure, 0.5)
    smaller = remove(model, Cut(structure, plan))
    assert certify(model, smaller, Cut(structure, plan), zoo.images()).reason.startswith("equal")
    assert (smaller.attention.num_heads, smaller.attention.attn_dim) == (2, 12)  # type: ignore[union-attr]
    assert smaller.attention.qkv.weight.shape[0] == 36  # type: ignore[union-attr]
    assert model.attention.num_heads == 4  # type: ignore[union-attr]


def test_heads_are_counted_saved_and_pruned_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, structure = traced(Attention(24, 4))
    plan = random_plan(structure, 0.75)
    smaller = remove(model, Cut(structure, plan))
    widths = [len(layer.kept) for layer in plan.layers]
    cost = CostModel.of(model, structure)
    assert cost.params(widths) == sum(p.numel() for p in smaller.parameters())  # type: ignore[arg-type]
    again = trace(smaller, zoo.images())
    assert layers_of(again)["attention.qkv"] == 3
    second = random_plan(again, 0.5)
    smallest = remove(smaller, Cut(again, second))
    kept = pruned_file.compose(Cut(structure, plan).kept, Cut(again, second).kept)
    pruned_file.save_pruned(tmp_path / "x.safetensors", smallest, Origin(None, 5), kept, {})
    rebuilt = pruned_file.load_pruned(tmp_path / "x.safetensors", transformer(Attention(24, 4)))
    with torch.no_grad():
        assert torch.equal(rebuilt(zoo.images()), smallest(zoo.images()))


def test_the_width_of_a_head_that_sets_the_scale_stays() -> None:
    model, structure = traced(Attention(24, 4, open_width=True))
    assert layers_of(structure)["attention.qkv"] == 4
    plan = random_plan(structure, 0.5)
    smaller = remove(model, Cut(structure, plan))
    assert certify(model, smaller, Cut(structure, plan), zoo.images()).reason.startswith("equal")


def certified(model: nn.Module, structure: Structure) -> nn.Module:
    """The network without half of every layer, which equals the silenced original."""
    plan = random_plan(structure, 0.5)
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), zoo.images())
    assert certificate.reason.startswith("equal"), certificate.reason
    return smaller


class Stock(nn.Module):
    """Attention of PyTorch, with one projection for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(24, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x, x, x, need_weights=False)[0]
        return found


def test_heads_of_stock_attention_go_with_blocks_of_its_input() -> None:
    model, structure = traced(Stock())
    assert layers_of(structure) == {"patch": 4, "up": 48}
    smaller = certified(model, structure)
    inner = smaller.attention.inner  # type: ignore[union-attr]
    assert (inner.num_heads, inner.embed_dim, inner.head_dim) == (2, 12, 6)  # type: ignore[union-attr]
    assert inner.in_proj_weight.shape == (36, 12)  # type: ignore[union-attr]
    assert layers_of(trace(smaller, zoo.images())) == {"patch": 2, "up": 24}


class FromInput(nn.Module):
    """Attention whose head width is what its input's channels leave for it, with a stored scale."""

    def __init__(self, num_heads: int, *, stated: bool) -> None:
        super().__init__()
        self.scale = (24 // num_heads) ** -0.5
        self.fixed = None if stated else (str(num_heads),)  # no integer that can follow
        if stated:
            self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        n, p, c = x.shape
        heads = int(self.fixed[0]) if self.fixed else self.num_heads
        parts = self.qkv(x).reshape(n, p, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        mixed = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, p, c))
        return merged


def test_heads_go_with_blocks_of_the_channels_that_set_their_width() -> None:
    model, structure = traced(FromInput(4, stated=True))
    assert layers_of(structure) == {"patch": 4, "up": 48}
    smaller = certified(model, structure)
    attention = smaller.attention
    assert (attention.num_heads, attention.scale) == (2, 6**-0.5)  # type: ignore[union-attr]


def test_the_same_width_goes_inside_all_heads_where_their_number_is_fixed() -> None:
    model, structure = traced(FromInput(4, stated=False))
    assert layers_of(structure) == {"patch": 6, "up": 48}
    smaller = certified(model, structure)
    assert smaller.attention.qkv.weight.shape == (36, 12)  # type: ignore[union-attr]
    assert smaller.attention.scale == 6**-0.5  # type: ignore[union-attr]


def test_one_head_gives_way_channel_by_channel() -> None:
    model, structure = traced(FromInput(1, stated=True))
    assert layers_of(structure) == {"patch": 24, "up": 48}
    certified(model, structure)


def test_one_head_is_left_of_two() -> None:
    """Memory is in plain order then, and `reshape` makes no copy any more."""
    model, structure = traced(FromInput(2, stated=True))
    assert layers_of(structure) == {"patch": 2, "up": 48}
    certified(model, structure)


def test_a_mask_of_fixed_size_does_not_keep_the_heads() -> None:
    class Masked(FromInput):
        def __init__(self) -> None:
            super().__init__(4, stated=True)
            self.register_buffer("mask", torch.zeros(16, 16))

        def forward(self, x: Tensor) -> Tensor:
            n, p, c = x.shape
            windows = x.reshape(n * 4, p // 4, c)
            parts = self.qkv(windows).reshape(n * 4, p // 4, 3, self.num_heads, -1)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
            scores = q @ k.transpose(-2, -1) * self.scale
            mask = self.get_buffer("mask")[:4, : p // 4].reshape(1, 4, 1, 1, -1)
            scores = scores.view(-1, 4, self.num_heads, p // 4, p // 4) + mask
            mixed = scores.view(n * 4, self.num_heads, p // 4, p // 4).softmax(-1) @ v
            merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, p, -1))
            return merged

    model, structure = traced(Masked())
    assert layers_of(structure)["attention.qkv"] == 4
    certified(model, structure)
