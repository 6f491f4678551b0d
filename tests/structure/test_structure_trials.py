"""Sizes in the code: what a trial of a smaller network shows is read differently or kept whole."""

import gc
import resource
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from prune_dl.prune.forward import evaluating, tensors_of, unfused_attention
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing import trace as tracing
from prune_dl.prune.structure.tracing.groups import structure_of
from prune_dl.prune.structure.tracing.recorder import Recorder
from prune_dl.prune.structure.tracing.recording import Record
from prune_dl.prune.structure.tracing.shadow import shadow, shadow_inputs
from prune_dl.prune.structure.tracing.stack import ModuleStack
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from scenes import structure_zoo as zoo
from scenes.attention import Attention, transformer
from scenes.plans import layers_of, random_plan
from torch import Tensor, nn

Counted = Callable[[nn.Module, Any], tuple[Structure, int]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Trace, and count the trials of smaller networks."""
    tried: list[int] = []
    watch = tracing.first_difference

    def watched(*args: Any) -> int | None:
        tried.append(0)
        return watch(*args)

    monkeypatch.setattr(tracing, "first_difference", watched)

    def run(model: nn.Module, inputs: Any) -> tuple[Structure, int]:
        tried.clear()
        return trace(model, inputs), len(tried)

    return run


def prunes_exactly(model: nn.Module, structure: Structure, inputs: Any) -> bool:
    plan = random_plan(structure, 0.5)
    smaller = remove(model, Cut(structure, plan))
    return certify(model, smaller, Cut(structure, plan), inputs).reason.startswith("equal")


def fixed_view(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
    return net.head(torch.relu(net.b(net.a(x))).view(-1, 6 * 64))


def fixed_slice(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
    return net.head(torch.relu(net.a(x))[:, :6].flatten(1))


def fixed_constant(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
    return net.head((net.b(net.a(x)) + torch.arange(6.0).view(1, 6, 1, 1)).flatten(1))


@pytest.mark.parametrize(
    ("forward", "whole"), [(fixed_view, "b"), (fixed_slice, "a"), (fixed_constant, "b")]
)
def test_a_size_in_the_code_keeps_its_layer_whole(
    forward: Callable[..., object], whole: str
) -> None:
    model = zoo.Net(
        forward, a=zoo.conv(3, 16), b=zoo.conv(16, 6), c=zoo.conv(3, 8), head=zoo.head(6 * 64)
    )
    structure = trace(model, zoo.images())
    assert whole in structure.kept_whole
    assert whole not in layers_of(structure)
    smaller = remove(model, Cut(structure, random_plan(structure, 0.3)))
    assert smaller(zoo.images()).shape == (2, 5)
    if whole == "b":
        assert layers_of(structure) == {"a": 16}


def test_a_size_of_a_layer_that_runs_later_keeps_it_whole() -> None:
    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = x * (1 / net.b.weight.shape[0])
        return net.head(zoo.pool(net.c(net.b(net.a(x)))))

    parts = {"a": zoo.conv(3, 8), "b": zoo.conv(8, 6), "c": zoo.conv(6, 7), "head": zoo.head(7)}
    model, inputs = zoo.randomise(zoo.Net(forward, **parts)), zoo.images()
    structure = trace(model, inputs)
    assert "b" in structure.kept_whole
    assert "c" in layers_of(structure)
    assert prunes_exactly(model, structure, inputs)


def test_what_the_code_caches_in_its_modules_is_not_there_in_the_next_run() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4, 1, 1))
            self.cache: dict[str, Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            if "scale" not in self.cache:
                self.cache["scale"] = self.scale.abs().repeat(2, 1, 1)
            return x * self.cache["scale"]

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        return net.head(zoo.pool(net.b(net.cached(net.a(x)))))

    parts = {"a": zoo.conv(3, 8), "b": zoo.conv(8, 6), "head": zoo.head(6)}
    model = zoo.Net(forward, cached=Cached(), **parts)
    structure = trace(model, zoo.images())
    assert layers_of(structure) == {"a": 4, "b": 6}
    assert model.cached.cache == {}
    assert prunes_exactly(model, structure, zoo.images())


@pytest.mark.parametrize("size", [3, 8])
def test_tensors_that_change_shape_in_place_are_followed(size: int) -> None:
    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.a(x)
        y = torch.relu(x)
        x.unsqueeze_(0).squeeze_(0)
        x = zoo.pool(x + y)
        x.t_()
        return net.head(net.b(x.t()))

    model = zoo.Net(forward, a=zoo.conv(3, 8), b=nn.Linear(8, 6), head=zoo.head(6))
    inputs = zoo.images(size)
    structure = trace(model, inputs)
    assert layers_of(structure) == {"a": 8, "b": 6}
    assert prunes_exactly(model, structure, inputs)


def test_a_weight_seen_as_a_matrix_goes_with_either_of_its_axes() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = (flat / (1 + flat.abs())).reshape_as(self.weight)
            return F.conv2d(x, weight, self.bias, padding=1)

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        return net.head(zoo.pool(net.b(torch.relu(net.a(x)))))

    model = zoo.Net(forward, a=zoo.conv(3, 8), b=Standardised(8, 6, 3), head=zoo.head(6))
    structure = trace(model, zoo.images())
    assert layers_of(structure) == {"a": 8, "b": 6}
    assert prunes_exactly(model, structure, zoo.images())


class FixedHeads(nn.Module):
    """Attention that fixes the number of heads and their width."""

    def __init__(self, *, shift: bool) -> None:
        super().__init__()
        self.shift = shift
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        n, p, _ = x.shape
        if self.shift:
            x = torch.roll(x, 1, 1)
        q, k, v = self.qkv(x).reshape(n, p, 3, 4, 6).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
        merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, p, 24))
        return merged


def test_a_line_is_settled_once_whatever_branch_led_to_it(counted: Counted) -> None:
    attention = nn.Sequential(*(FixedHeads(shift=bool(i % 2)) for i in range(6)))
    model, inputs = transformer(attention), zoo.images()
    structure, num_trials = counted(model, inputs)
    fixed = [f"attention.{i}.qkv" for i in range(6)]
    assert layers_of(structure)["up"] == 48
    assert not layers_of(structure).keys() & set(fixed)
    assert num_trials <= 7  # not once for each of six instances
    assert "unbind in attention.3" in structure.kept_whole["attention.3.qkv"]
    assert prunes_exactly(model, structure, inputs)


def test_linear_layers_elsewhere_are_not_kept_for_the_code_of_one_caller(counted: Counted) -> None:
    """The trial differs in a number; the last that ran before it is a layer of PyTorch."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(24, 24)

        def forward(self, x: Tensor) -> Tensor:
            x = self.inner(x)
            return x * torch.full((1,), self.inner.out_features**-0.5, device=x.device)

    model = zoo.randomise(transformer(nn.Sequential(Scaled(), Scaled(), Scaled())))
    structure, num_trials = counted(model, zoo.images())
    assert layers_of(structure)["up"] == 48
    assert "up" not in structure.kept_whole
    assert all("Scaled (" in structure.kept_whole[f"attention.{i}.inner"] for i in range(3))
    assert num_trials <= 4  # a surprise, or two of them, and two trials that pass
    assert prunes_exactly(model, structure, zoo.images())


def attentive() -> zoo.Built:
    return transformer(nn.Sequential(Attention(24, 4), Attention(24, 2))), zoo.images()


def viewed_output() -> zoo.Built:
    """What its output pins depends on how the view is read."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.a(x)
        return x.view(x.shape[0], 4, 4, *x.shape[2:])

    return zoo.Net(forward, a=zoo.conv(3, 16)), zoo.images()


@pytest.mark.parametrize("build", [zoo.shuffle, zoo.residual, attentive, viewed_output])
def test_reading_again_is_the_same_as_recording_anew(build: Callable[[], zoo.Built]) -> None:
    model, inputs = build()
    hollow, empty = shadow(model), shadow_inputs(inputs)
    first = recorded(hollow, empty, {})
    choosers = [i for i, x in enumerate(first.recording.records) if x.num_choices > 1]
    for index in choosers or range(0, len(first.recording.records), 5):
        first.read_again([index], 1, "a reading that it does not have")
    kept = dict(first._kept)
    anew = recorded(hollow, empty, dict(first._choices), kept)
    ours, theirs = (solved(hollow, x) for x in (first, anew))
    assert ours.kept_whole == theirs.kept_whole
    assert [(g.name, g.units.tolist()) for g in ours.groups] == [
        (g.name, g.units.tolist()) for g in theirs.groups
    ]
    assert ours.axes.keys() == theirs.axes.keys()
    assert all((ours.axes[key] == theirs.axes[key]).all() for key in ours.axes)


def recorded(
    model: nn.Module, inputs: Any, choices: dict[int, int], kept: dict[int, str] | None = None
) -> Recorder:
    """A recording that takes these readings from the start."""
    recorder = Recorder(model, ModuleStack(model))
    recorder._choices.update(choices)
    recorder._kept.update(kept or {})
    with evaluating(model), unfused_attention(), recorder.stack.following(), recorder:
        outputs = tracing.call(model, inputs)
    recorder.mark_outputs(tensors_of(outputs))
    return recorder


def solved(model: nn.Module, recorder: Recorder) -> Structure:
    recording = recorder.recording
    return structure_of(model, recording, recording.tags.solve(), 2)


def test_garbage_is_collected_again_also_after_an_error() -> None:
    model, _ = zoo.plain()
    with pytest.raises(ValueError, match="example inputs given on which Sequential does not run"):
        trace(model, torch.randn(2, 4, 8, 8))
    assert gc.isenabled()


def test_a_trace_computes_nothing_and_leaves_nothing_behind() -> None:
    """One activation of this network would take 4 GiB; the tags of its flatten are wide."""
    model = nn.Sequential(zoo.conv(3, 512), nn.ReLU(), nn.AdaptiveAvgPool2d(7), nn.Flatten())
    model.append(nn.Linear(512 * 49, 1024)).append(nn.ReLU()).append(nn.Linear(1024, 5))
    inputs = torch.zeros(1, 3, 1, 1).expand(8, 3, 512, 512)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.collect()
    gc.disable()
    try:
        structure = trace(model, inputs)
        assert not any(type(x) is Record for x in gc.get_objects())
    finally:
        gc.enable()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert layers_of(structure) == {"0": 512, "4": 1024}
    assert grown_kib < 200 * 1024
