"""The way of a layer's answer to its clamp, and what is wanted of the layer for it."""

import math

import pytest
import torch
from prune_dl.prune.inputs.cifar_resnet import build_cifar_resnet
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.statistics import collect
from prune_dl.prune.repair import refit as refitting
from prune_dl.prune.repair import visits
from prune_dl.prune.repair.activations import ANYTHING, Activation, Bounds, find_activations
from prune_dl.prune.repair.norms import find_norm_behind
from prune_dl.prune.repair.refit import RefitImages, refit
from prune_dl.prune.repair.repair import repair
from prune_dl.prune.repair.wanted import OutputScale, Wanted, wanted
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor, nn
from torch.nn import functional

CPU = torch.device("cpu")
RELU: Bounds = (0.0, math.inf)


class Forks(nn.Module):
    """Answers that go to a ReLU alone, in place, twice, to something else too, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("alone", "place", "twice", "read", "soft"):
            setattr(self, name, nn.Conv2d(3, 3, 1))
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.alone(x)))
        x = self.place(x).relu_() + 1
        x = functional.relu(self.twice(functional.relu(self.twice(x))))
        answer = self.read(x)
        x = functional.relu(answer) + answer.mean()
        x = functional.gelu(self.soft(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_only_answers_that_go_straight_to_a_clamp_are_told() -> None:
    model, x = Forks().eval(), torch.randn(2, 3, 4, 4)
    names = ["alone", "place", "twice", "read", "soft", "head"]
    found = find_activations(model, x, names, find_norm_behind(model, x))
    assert found == {
        "alone": Activation("norm", bounds=RELU),
        "place": Activation(bounds=RELU),
    }


class Clamps(nn.Module):
    """Every form of a clamp, a sum without one, and a sum that something else reads too."""

    def __init__(self) -> None:
        super().__init__()
        names = ("six", "place", "tanh", "floor", "range", "each", "linear", "summed", "shared")
        for name in names:
            setattr(self, name, nn.Conv2d(3, 3, 1))
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.six(x))
        x = functional.hardtanh_(self.place(x), max_val=2)
        x = functional.hardtanh(self.tanh(x))
        x = self.floor(x).clamp_min(-3)
        x = torch.clamp(self.range(x), max=5)
        x = torch.clamp(self.each(x), torch.zeros(4))  # a bound for every column
        x = x + self.linear(x)
        x = self.summed(x).add_(x).relu_()
        total = x + self.shared(x)
        x = functional.relu(total) + total
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_clamps_are_told_by_their_bounds_and_sums_without_one_by_their_stream() -> None:
    model, x = Clamps().eval(), torch.randn(2, 3, 4, 4)
    names = [name for name, _ in model.named_children()]
    assert find_activations(model, x, names, {}) == {
        "six": Activation(bounds=(0, 6)),
        "place": Activation(bounds=(-1, 2)),
        "tanh": Activation(bounds=(-1, 1)),
        "floor": Activation(bounds=(-3, math.inf)),
        "range": Activation(bounds=(-math.inf, 5)),
        "linear": Activation(stream="linear"),
        "summed": Activation(stream="summed", bounds=RELU),
        "shared": Activation(stream="shared"),
    }


def resnet(filters: int = 8) -> tuple[nn.Module, Tensor]:
    """A trained-looking residual network and images."""
    torch.manual_seed(0)
    model = build_cifar_resnet("resnet20", 4, width=filters / 16)
    images = torch.randn(256, 3, 8, 8)
    model.train()
    with torch.no_grad():
        for batch in images.split(64):
            model(batch)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return model.eval(), images


def test_the_stream_of_a_block_is_what_its_first_layer_is_given() -> None:
    model, images = resnet()
    norms = find_norm_behind(model, images[:2])
    found = find_activations(model, images[:2], norms, norms)
    assert found["layer1.1.conv1"] == Activation("layer1.1.bn1", bounds=RELU)
    assert found["layer1.1.conv2"] == Activation("layer1.1.bn2", "layer1.1.conv1", RELU)
    assert "layer2.0.conv2" not in found  # its stream is padded: no layer is given that


@pytest.fixture(scope="module")
def halved() -> tuple[nn.Module, nn.Module, Cut, Tensor, dict[str, str]]:
    """The network, what removing and repairing half of its inner filters made of it, and images."""
    model, images = resnet()
    structure = trace(model, images[:2])
    layers = []
    for group in structure.groups:
        width = len(group.units)
        left = width if group.name == "conv1" else width // 2
        layers.append(LayerPlan(group.name, width, tuple(range(left))))
    cut = Cut(structure, Plan(tuple(layers)))
    labelled = [(batch, torch.arange(len(batch)) % 4) for batch in images.split(64)]
    statistics = collect(TracedNetwork(model, structure, 4, CPU), labelled)
    norms = find_norm_behind(model, images[:2])
    smaller, _ = repair(remove(model, cut), model, cut, statistics, norm_behind=norms)
    return model, smaller, cut, images, norms


class Inverted(nn.Module):
    """A block of MobileNetV2: wider inside, ReLU6, and a sum that nothing clamps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 4 * width
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)),
            nn.ReLU6(inplace=True),
            nn.Sequential(
                nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
                nn.BatchNorm2d(inner),
            ),
            nn.ReLU6(inplace=True),
            nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.body(x)
        return total


def test_inverted_residuals_are_followed_through_relu6_and_their_open_sum() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Inverted(8), Inverted(8)).eval()
    x = torch.randn(2, 3, 4, 4)
    norms = find_norm_behind(model, x)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    found = find_activations(model, x, names, norms)
    assert found["1.body.0.0"] == Activation("1.body.0.1", bounds=(0, 6))
    assert found["1.body.4.0"] == Activation("1.body.4.1", "1.body.0.0")
    assert found["2.body.4.0"] == Activation("2.body.4.1", "2.body.0.0")
    assert "0" not in found


def stream_error(model: nn.Module, other: nn.Module, images: Tensor) -> float:
    """Relative squared error of the stream after the first stage."""
    streams = []
    for network in (model, other):
        with torch.no_grad():
            stream = functional.relu(network.bn1(network.conv1(images)))
            streams.append(network.layer1(stream))
    return float((streams[1] - streams[0]).square().sum() / streams[0].var() / streams[0].numel())


def test_blocks_make_up_for_their_stream_and_relus_for_errors(
    halved: tuple[nn.Module, nn.Module, Cut, Tensor, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, smaller, cut, images, norms = halved
    given = RefitImages(list(images.split(64)))

    def error() -> float:
        fresh, _ = refit(smaller, model, cut, given, norm_behind=norms)
        return stream_error(model, fresh, images)

    whole = error()
    monkeypatch.setattr(refitting, "PASSES", 1)
    one_pass = error()
    monkeypatch.setattr(refitting, "find_activations", lambda *_: {})
    plain = error()
    assert whole < one_pass < plain


def test_one_pass_and_a_pass_to_every_layer_agree_on_streams(
    halved: tuple[nn.Module, nn.Module, Cut, Tensor, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, smaller, cut, images, norms = halved
    given = RefitImages(list(images[:128].split(64)))
    at_once, _ = refit(smaller, model, cut, given, norm_behind=norms)
    monkeypatch.setattr(visits, "INPUT_BYTES", 0)
    monkeypatch.setattr(visits, "TARGET_BYTES", 1)
    again, _ = refit(smaller, model, cut, given, norm_behind=norms)
    for one, other in zip(at_once.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("bounds", [RELU, (0.0, 1.5), (-1.0, 1.0), (-math.inf, -1.0), ANYTHING])
def test_targets_are_those_of_the_sum_after_the_norm(bounds: Bounds) -> None:
    """Whatever sign and size a norm's scale has, a perfect answer gives the original's output."""
    torch.manual_seed(0)
    k_O, mean_O, beta_O = torch.tensor([2.0, -0.5, 1e-9]), torch.randn(3), torch.randn(3)
    answer, old, new = torch.randn(50, 3), torch.randn(50, 3), torch.randn(50, 3)

    def output(z: Tensor, stream: Tensor) -> Tensor:
        return torch.clamp(k_O * (z - mean_O) + beta_O + stream, *bounds)

    want = wanted(OutputScale(k_O, mean_O, beta_O), bounds, answer, (old, new))
    now = torch.randn(50, 3)
    better = now + want.missing(now)
    torch.testing.assert_close(output(better, new)[:, :2], output(answer, old)[:, :2])
    torch.testing.assert_close(better[:, 2], answer[:, 2])  # does not count after the norm
    torch.testing.assert_close(
        want.error(now)[:, :2] * k_O[:2], (output(answer, old) - output(now, new))[:, :2]
    )
    assert (want.error(now).abs() <= want.missing(now).abs() + 1e-6).all()
    close = torch.isclose(output(now, new)[:, :2], output(answer, old)[:, :2], atol=1e-6)
    torch.testing.assert_close(want.missing(now)[:, :2][close], torch.zeros(int(close.sum())))
    assert close.any() == (bounds != ANYTHING)
    assert torch.equal(want.plain.missing(now), want.answer_RO - now)
    assert torch.equal(Wanted(answer).error(now), answer - now)
