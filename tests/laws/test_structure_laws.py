"""The laws of surgery on generated networks: random graphs of every kind of layer and joint.

    PRUNE_DL_LAWS=1000 pytest tests/laws/test_structure_laws.py

lets every law try a thousand networks instead of 25.
"""

import copy
import io
import os
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from torch import Tensor, nn

LAYERS = ("conv", "pointwise-conv", "grouped", "depthwise", "transposed", "batch-norm", "prelu")
JOINTS = ("add", "cat", "gate", "scale", "shared", "linear")
KINDS = (*LAYERS, *JOINTS, "split", "stated", "shuffle", "unshuffle", "pad", "twice", "pool")
Step = tuple[str, int, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.integers(0, 7), st.integers(0, 7), st.sampled_from((4, 6, 8, 12))
    ),
    min_size=2,
    max_size=8,
)
laws = settings(
    max_examples=int(os.environ.get("PRUNE_DL_LAWS", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)


class Generated(nn.Module):
    """A network that follows a list of steps; each takes earlier tensors and adds new ones."""

    def __init__(self, plan: list[Step], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.plan = plan
        self.parts = nn.ModuleDict()
        self.scales = nn.ParameterDict()
        self.was_even: dict[str, bool] = {}
        self.splits: list[list[int]] = []
        self.split_of: dict[str, int] = {}
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        with torch.no_grad():
            self.head: nn.Module = nn.Identity()
            features = self.forward(torch.randn(2, 3, 8, 8))
        self.head = nn.Sequential(nn.Linear(features.shape[1], 6), nn.ReLU(), nn.Linear(6, 4))
        self.eval()

    def even(self, key: str, width: int) -> bool:
        """Whether the width of a step was even when the network was made."""
        return self.was_even.setdefault(key, width % 2 == 0)

    def forward(self, x: Tensor) -> Tensor:
        alive = [self.stem(x)]
        for index, (kind, first, second, width) in enumerate(self.plan):
            a, b = alive[first % len(alive)], alive[second % len(alive)]
            alive += self.step(f"{index}", kind, a, b, width)
        last = alive[-1]
        pooled = self.even("flatten", last.shape[1])
        features: Tensor = self.head(last.mean(dim=(2, 3)) if pooled else last.flatten(1))
        return features

    def step(self, key: str, kind: str, a: Tensor, b: Tensor, width: int) -> list[Tensor]:
        """What one step adds to the tensors that are alive; an odd width skips some steps."""
        c = a.shape[1]
        even = self.even(key, c)
        made: dict[str, Callable[[], nn.Module]] = {
            "conv": lambda: conv(c, width),
            "pointwise-conv": lambda: nn.Conv2d(c, width, 1, bias=False),
            "grouped": lambda: conv(c, width, groups=2 if even else 1),
            "depthwise": lambda: conv(c, c, groups=c),
            "transposed": lambda: nn.ConvTranspose2d(c, width, 3, padding=1),
            "batch-norm": lambda: norm(c),
            "prelu": lambda: nn.PReLU(c),
        }
        if kind in made:
            if key not in self.parts:
                self.parts[key] = made[kind]()
            return [self.parts[key](a)]
        if kind == "stated":
            return self.stated(key, a, width)
        return self.joint(key, kind, a, b) if kind in JOINTS else move(kind, a, even)

    def stated(self, key: str, a: Tensor, width: int) -> list[Tensor]:
        """Parts of the sizes that a list in a list states, taken when the network was made."""
        if key not in self.split_of:
            first = 1 + width % a.shape[1]
            self.split_of[key] = len(self.splits)
            self.splits.append([first, a.shape[1] - first] if first < a.shape[1] else [first])
        return list(torch.split(a, self.splits[self.split_of[key]], 1))

    def joint(self, key: str, kind: str, a: Tensor, b: Tensor) -> list[Tensor]:
        """Steps in which tensors or parameters meet."""
        c = a.shape[1]
        if key not in self.parts:
            fits = kind == "shared" or b.shape[1] == c
            same = conv(c, c) if kind == "shared" else nn.Identity()
            fits |= kind in ("cat", "linear")
            same = nn.Linear(c, max(c // 2, 1)) if kind == "linear" else same
            self.parts[key] = same if fits else nn.Conv2d(b.shape[1], c, 1)
            self.scales[key] = nn.Parameter(torch.rand(1, c, 1, 1) + 0.5)
        if kind == "shared":
            return [self.parts[key](self.parts[key](a).relu())]
        if kind == "scale":
            return [a * self.scales[key]]
        if kind == "linear":  # over the channels, as ConvNeXt does
            return [self.parts[key](a.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)]
        if kind == "cat":
            return [torch.cat([a, b], dim=1)]
        other = self.parts[key](b)
        return [a + other if kind == "add" else a * torch.sigmoid(other.mean((2, 3), True))]


def move(kind: str, a: Tensor, even: bool) -> list[Tensor]:
    """Steps that only move channels."""
    n, c, h, w = a.shape
    if kind == "split" and even:
        return list(a.chunk(2, dim=1))
    if kind == "shuffle" and even:
        return [a.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)]
    if kind == "unshuffle":
        return [F.interpolate(F.pixel_unshuffle(a, 2), size=(h, w))]
    if kind == "pad":
        return [F.pad(a, (0, 0, 0, 0, 1, 2))]
    if kind == "twice":
        return [torch.cat([a, a.flip(1)], dim=1)]
    return [F.max_pool2d(a, 3, stride=1, padding=1)]


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups)


def norm(width: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(width)
    for values, low in ((layer.running_mean, -0.5), (layer.running_var, 0.5), (layer.bias, -0.5)):
        assert values is not None
        nn.init.uniform_(values, low, low + 1)
    return layer


def random_plan(structure: Structure, seed: int) -> Plan:
    rng = np.random.default_rng(seed)
    lines = []
    for group in structure.groups:
        kept = np.flatnonzero(rng.random(len(group.units)) < rng.random())
        kept = kept if len(kept) else rng.integers(len(group.units), size=1)
        lines.append(LayerPlan(group.name, len(group.units), tuple(kept.tolist())))
    return Plan(tuple(lines))


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_removed_equals_silenced_and_counts_hold(plan: list[Step], seed: int) -> None:
    model, images = Generated(plan, seed), torch.randn(2, 3, 8, 8)
    structure = trace(model, images)
    chosen = random_plan(structure, seed)
    smaller = remove(model, Cut(structure, chosen))
    certificate = certify(model, smaller, Cut(structure, chosen), images)
    assert certificate.applies, certificate.reason
    assert certificate.ok, certificate.reason
    widths = np.array([len(layer.kept) for layer in chosen.layers], dtype=np.int64)
    params = CostModel.of(model, structure).params(widths)
    assert params == sum(p.numel() for p in smaller.parameters())


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_every_unit_is_in_one_group_and_every_layer_is_explained(
    plan: list[Step], seed: int
) -> None:
    model = Generated(plan, seed)
    structure = trace(model, torch.randn(2, 3, 8, 8))
    units = [group.units for group in structure.groups]
    together = np.concatenate([*units, np.empty(0, dtype=np.int64)])
    np.testing.assert_array_equal(np.sort(together), np.arange(structure.num_units))
    written = {name for group in structure.groups for name in group.writers}
    assert set(structure.num_filters) == written | set(structure.kept_whole)
    made = {
        n for n, x in model.named_modules() if isinstance(x, nn.modules.conv._ConvNd | nn.Linear)
    }
    assert made == written | set(structure.kept_whole)
    for reader in structure.readers.values():
        assert reader.unit_C.max() < structure.num_units
        assert reader.channel_of_feature_F.max() == len(reader.unit_C) - 1


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_keeping_everything_changes_nothing_and_a_cut_parts_every_axis(
    plan: list[Step], seed: int
) -> None:
    model, images = Generated(plan, seed), torch.randn(2, 3, 8, 8)
    structure = trace(model, images)
    with torch.no_grad():
        same = remove(model, Cut(structure, keep_everything(structure)))
        assert torch.equal(same(images), model(images))
    assert not Cut(structure, keep_everything(structure)).kept
    few = Cut(structure, random_plan(structure, seed))
    for key, units in structure.axes.items():
        gone = np.flatnonzero(np.isin(units, few.removed))
        kept = few.kept.get(key, np.arange(len(units)))
        assert len(kept) > 0
        np.testing.assert_array_equal(np.sort([*kept, *gone]), np.arange(len(units)))


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_pruning_twice_is_exact_each_time(plan: list[Step], seed: int) -> None:
    model, images = Generated(plan, seed), torch.randn(2, 3, 8, 8)
    for turn in range(2):
        structure = trace(model, images)
        chosen = random_plan(structure, seed + turn)
        smaller = remove(model, Cut(structure, chosen))
        assert certify(model, smaller, Cut(structure, chosen), images).ok
        model = smaller  # type: ignore[assignment]


def permuted(model: nn.Module, structure: Structure, seed: int) -> nn.Module:
    """The same network with the units of every group in another order, in all its tensors."""
    rng, other = np.random.default_rng(seed), copy.deepcopy(model)
    moved_to = np.arange(structure.num_units)
    for group in structure.groups:
        moved_to[group.units] = rng.permutation(group.units)
    tensors = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    for (name, axis), units in structure.axes.items():
        if name not in tensors:  # an attribute: it has no order
            continue
        places = {int(unit): np.flatnonzero(units == unit) for unit in np.unique(units)}
        order = np.arange(len(units))
        for unit in (x for x in places if x >= 0):
            order[places[int(moved_to[unit])]] = places[unit]
        index = torch.from_numpy(order)
        tensors[name].data = tensors[name].data.index_select(axis, index)
    return other


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_permuting_the_units_of_a_group_changes_nothing_else(plan: list[Step], seed: int) -> None:
    model, images = Generated(plan, seed), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        found = permuted(model, trace(model, images), seed)(images)
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-5)


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_removing_units_that_nothing_reads_changes_nothing(plan: list[Step], seed: int) -> None:
    model, images = Generated(plan, seed), torch.randn(2, 3, 8, 8)
    structure = trace(model, images)
    chosen = random_plan(structure, seed)
    gone = chosen.removed_units(structure)
    for reader in structure.readers.values():
        weight = model.get_submodule(reader.layer).weight
        axis = 0 if reader.kind == "transposed" else 1
        assert isinstance(weight, nn.Parameter)
        units = structure.axes[f"{reader.layer}.weight", axis]
        silent = torch.from_numpy(np.flatnonzero(np.isin(units, gone)))
        weight.data.index_fill_(axis, silent, 0)
    with torch.no_grad():
        found = remove(model, Cut(structure, chosen))(images)
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-5)


@given(plan=steps, seed=st.integers(0, 99))
@laws
def test_a_plan_and_the_weights_survive_their_files(plan: list[Step], seed: int) -> None:
    model, images = Generated(plan, seed), torch.randn(2, 3, 8, 8)
    structure = trace(model, images)
    chosen = Plan.from_json(random_plan(structure, seed).to_json())
    assert chosen == random_plan(structure, seed)
    smaller, fresh = (remove(x, Cut(structure, chosen)) for x in (model, Generated(plan, seed + 1)))
    file = io.BytesIO()
    torch.save(smaller.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        assert torch.equal(fresh(images), smaller(images))
