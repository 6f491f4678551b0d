"""Where a first reading of the code leaves layers whole, another one that leaves less is taken."""

from collections.abc import Callable
from pathlib import Path

import pytest
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
from scenes.plans import layers_of, random_plan
from torch import Tensor, nn

WIDTH, HEADS = 24, 4
RECURRENT = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Heads(nn.Module):
    """Attention between channels, as EdgeNeXt has it; how many heads there are is stated."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, p, c = x.shape
        parts = self.qkv(x).reshape(n, p, 3, self.num_heads, -1).permute(2, 0, 3, 4, 1)
        q, k, v = parts.unbind(0)
        mixed = (q @ k.transpose(-2, -1)) @ v
        merged: Tensor = self.proj(mixed.permute(0, 3, 1, 2).reshape(n, p, c))
        return merged


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def pixels(x: Tensor, like: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(like.shape)


def in_parts(net: zoo.Net, x: Tensor) -> object:
    """Parts as wide as a head, of which each has its turn: whole heads would leave nothing."""
    x = net.stem(x)
    first, *others = x.chunk(HEADS, dim=1)
    mixed = [first]
    for part in others:
        mixed.append(net.turn(mixed[-1] + part))
    x = torch.cat(mixed, 1)
    x = x + pixels(net.heads(tokens(x)), x)
    return net.head(zoo.pool(x))


class StatedHeads(nn.Module):
    """Attention whose code fixes the width of a head: heads go as a whole or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, p, c = x.shape
        parts = self.qkv(x).reshape(n, p, 3, self.num_heads, 6).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        mixed = (q @ k.transpose(-2, -1) * 6**-0.5).softmax(-1) @ v
        merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, p, c))
        return merged


def grouped(net: zoo.Net, x: Tensor) -> object:
    """A convolution with a group for each head of the same stream, as in Next-ViT."""
    x = net.stem(x)
    x = x + pixels(net.heads(tokens(x)), x)
    x = x + net.mix(torch.relu(net.groups(x)))
    return net.head(zoo.pool(x))


class Filters(nn.Module):
    """Values of heads filtered channel by channel, in parts of unequal width."""

    def __init__(self) -> None:
        super().__init__()
        self.splits = [12, 18]
        self.small, self.large = zoo.conv(12, 12, groups=12), zoo.conv(18, 18, groups=18)

    def forward(self, q: Tensor, v: Tensor) -> Tensor:
        n, heads, p, width = q.shape
        side = int(p**0.5)
        image = v.transpose(-1, -2).reshape(n, heads * width, side, side)
        first, second = torch.split(image, self.splits, dim=1)
        moved = torch.cat([self.small(first), self.large(second)], 1)
        return q * moved.reshape(n, heads, width, p).transpose(-1, -2)


class Positions(nn.Module):
    """Attention of CoaT: its filters do not know how many heads there are."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 5
        self.qv, self.proj, self.filters = nn.Linear(30, 60), nn.Linear(30, 30), Filters()

    def forward(self, x: Tensor) -> Tensor:
        n, p, c = x.shape
        parts = self.qv(x).reshape(n, p, 2, self.num_heads, c // self.num_heads)
        q, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.proj(self.filters(q, v).transpose(1, 2).reshape(n, p, c))
        return out


def of_tokens(net: zoo.Net, x: Tensor) -> object:
    x = net.stem(x)
    return net.head(zoo.pool(x + pixels(net.heads(tokens(x)), x)))


def edge() -> nn.Module:
    part = zoo.conv(WIDTH // HEADS, WIDTH // HEADS, groups=WIDTH // HEADS)
    return zoo.Net(
        in_parts, stem=zoo.conv(3, WIDTH), turn=part, heads=Heads(), head=zoo.head(WIDTH)
    )


def next_vit() -> nn.Module:
    groups, mix = zoo.conv(WIDTH, WIDTH, groups=HEADS), zoo.conv(WIDTH, WIDTH)
    layers = {"stem": zoo.conv(3, WIDTH), "heads": StatedHeads(), "head": zoo.head(WIDTH)}
    return zoo.Net(grouped, groups=groups, mix=mix, **layers)


def around(heads: nn.Module, width: int = WIDTH) -> nn.Module:
    return zoo.Net(of_tokens, stem=zoo.conv(3, width), heads=heads, head=zoo.head(width))


class OverTime(nn.Module):
    """A recurrent layer over positions, in both directions, and what reads it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
        self.run = RECURRENT[kind](10, 8, **options)
        self.stem, self.head = zoo.conv(3, 10), zoo.head(16)

    def forward(self, x: Tensor) -> object:
        return self.head(self.run(tokens(self.stem(x)))[0].mean(dim=1))


def cut(model: nn.Module, structure: Structure, share: float = 0.5) -> nn.Module:
    """A smaller network that equals the silenced original and is as large as was counted."""
    plan = random_plan(structure, share)
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), zoo.images())
    assert certificate.reason.startswith("equal"), certificate.reason
    widths = [len(layer.kept) for layer in plan.layers]
    expected = CostModel.of(model, structure).params(widths)  # type: ignore[arg-type]
    assert expected == sum(p.numel() for p in smaller.parameters())
    return smaller


def traced(make: Callable[[], nn.Module]) -> tuple[nn.Module, Structure]:
    torch.manual_seed(0)
    model = zoo.randomise(make())
    return model, trace(model, zoo.images())


def test_the_width_inside_heads_goes_where_whole_heads_would_leave_nothing() -> None:
    model, structure = traced(edge)
    assert set(structure.kept_whole) == {"head"}
    assert set(layers_of(structure).values()) == {6}
    smaller = cut(model, structure)
    assert smaller.heads.num_heads == HEADS  # type: ignore[union-attr]
    assert smaller.turn.weight.shape[0] == 3  # type: ignore[union-attr]


def test_a_group_of_a_convolution_goes_with_a_head() -> None:
    model, structure = traced(next_vit)
    assert set(structure.kept_whole) == {"head"}
    smaller = cut(model, structure)
    groups = smaller.groups
    assert isinstance(groups, nn.Conv2d)
    assert (groups.groups, groups.in_channels, groups.out_channels) == (2, 12, 12)
    assert smaller.heads.num_heads == 2  # type: ignore[union-attr]
    assert layers_of(trace(smaller, zoo.images()))["stem"] == 2


def test_groups_lose_the_same_positions_where_that_leaves_more() -> None:
    layers = [zoo.conv(3, WIDTH), zoo.conv(WIDTH, WIDTH, groups=HEADS), nn.ReLU()]
    make = lambda: nn.Sequential(*layers, zoo.conv(WIDTH, 6), nn.Flatten(), zoo.head(6 * 64))  # noqa: E731
    model, structure = traced(make)
    assert layers_of(structure) == {"0": 6, "1": 6, "3": 6}
    assert cut(model, structure)[1].groups == HEADS  # type: ignore[index]


def test_a_block_of_channels_stays_a_block_where_each_is_filtered() -> None:
    model, structure = traced(lambda: around(Positions(), 30))
    assert set(structure.kept_whole) == {"head"}
    heads = cut(model, structure).heads
    assert isinstance(heads, Positions)
    assert (heads.num_heads, heads.filters.splits) == (3, [6, 12])


def test_one_head_is_left_of_two_in_an_einsum() -> None:
    """It puts an axis of one position elsewhere than a longer one."""

    class Sums(StatedHeads):
        def forward(self, x: Tensor) -> Tensor:
            n, p, c = x.shape
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            q, k, v = (y.reshape(n, p, self.num_heads, 12).transpose(1, 2) for y in (q, k, v))
            weights = torch.einsum("nhid,nhjd->nhij", q, k).mul(12**-0.5).softmax(-1)
            mixed = torch.einsum("nhij,nhjd->nhid", weights, v)
            merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, p, c))
            return merged

    def make() -> nn.Module:
        heads = Sums()
        heads.num_heads = 2
        return around(heads)

    model, structure = traced(make)
    assert set(structure.kept_whole) == {"head"}
    assert cut(model, structure).heads.num_heads == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", list(RECURRENT))
def test_hidden_units_of_recurrent_layers_go(kind: str, tmp_path: Path) -> None:
    model, structure = traced(lambda: OverTime(kind))
    assert set(structure.kept_whole) == {"head"}
    plan = random_plan(structure, 0.5)
    smaller = cut(model, structure)
    run = smaller.run
    assert isinstance(run, nn.RNNBase)
    assert (run.input_size, run.hidden_size) == (5, 4)
    assert all(x is y for x, y in zip(run._flat_weights, run.parameters(), strict=True))
    path = tmp_path / "x.safetensors"
    pruned_file.save_pruned(path, smaller, Origin(None, 5), Cut(structure, plan).kept, {})
    again = pruned_file.load_pruned(path, OverTime(kind).eval())
    with torch.no_grad():
        assert torch.equal(again(zoo.images()), smaller(zoo.images()))
    cut(smaller, trace(smaller, zoo.images()))


class AsWide(StatedHeads):
    """As many heads as a head is wide, and a mask of windows as wide as that too."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 4
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.near = nn.Linear(2, 4)
        self.register_buffer("steps", torch.rand(16, 16, 2))

    def forward(self, x: Tensor) -> Tensor:
        n, p, c = x.shape
        parts = (
            self.qkv(x).reshape(n, p, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        )
        q, k, v = parts.unbind(0)
        mask = x.new_zeros((8, 8))
        mask[:4] = -1.0
        mask = mask.view(2, 4, 2, 4).permute(0, 2, 1, 3).reshape(-1)
        near = self.near(self.steps).view(-1, self.num_heads).view(16, 16, -1).permute(2, 0, 1)
        mixed = (q @ k.transpose(-2, -1) * 0.5 + near.repeat(1, p // 16, p // 16) + mask).softmax(
            -1
        ) @ v
        merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, p, c))
        return merged


def test_heads_are_told_from_what_is_as_long() -> None:
    model, structure = traced(lambda: around(AsWide(), 16))
    assert set(structure.kept_whole) == {"head"}
    smaller = cut(model, structure)
    assert smaller.heads.num_heads == 2  # type: ignore[union-attr]
    assert smaller.heads.proj.weight.shape == (8, 8)  # type: ignore[union-attr]
