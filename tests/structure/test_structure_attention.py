"""Whole attention heads go where the module allows it; the width of a head stays."""

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


def test_attention_that_fixes_its_heads_stays_whole_and_its_mlp_goes() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(24, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.inner(x, x, x, need_weights=False)[0]
            return found

    model, structure = traced(Fixed())
    assert layers_of(structure) == {"up": 48}
    assert "fixes its size" in structure.kept_whole["patch"]
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    assert certify(model, smaller, Cut(structure, plan), zoo.images()).reason.startswith("equal")
