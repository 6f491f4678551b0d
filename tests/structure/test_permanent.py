"""Weights that are computed from others: kept as they are, pruned like any, and said."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from prune_dl.prune import shrink
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.pruned_file import load_pruned, save_pruned
from prune_dl.prune.structure.permanent import permanent
from prune_dl.prune.structure.plain import as_plain
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import parametrizations, parametrize, prune

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
Wrap = Callable[[nn.Module], nn.Module]


class Doubled(nn.Module):
    """A parametrization of the user's own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def doubled(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


def masked(layer: nn.Module) -> nn.Module:
    prune.ln_structured(layer, "weight", 0.25, 1, 0)
    prune.l1_unstructured(layer, "weight", 0.2)
    return layer


def old_weight_norm(layer: nn.Module) -> nn.Module:
    return utils.weight_norm(layer)


def old_spectral_norm(layer: nn.Module) -> nn.Module:
    return utils.spectral_norm(layer)


WRAPS: dict[Wrap, str] = {
    parametrizations.weight_norm: "weight norm of 2 tensors",
    parametrizations.spectral_norm: "spectral norm of 2 tensors",
    parametrizations.orthogonal: "an orthogonal parametrization of 2 tensors",
    old_weight_norm: "weight norm of 2 tensors",
    old_spectral_norm: "spectral norm of 2 tensors",
    masked: "a mask of torch.nn.utils.prune of 2 tensors",
    doubled: "Doubled of 2 tensors",
}
every_wrap = pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)


def network(wrap: Wrap) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(wrap(nn.Conv2d(3, 16, 3)), nn.ReLU(), wrap(nn.Conv2d(16, 12, 3)), nn.ReLU())
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)])
    return net


def plain(num_labels: int = 5) -> nn.Module:
    """An architecture with weight norm, as a file names it."""
    return network(parametrizations.weight_norm)


@every_wrap
def test_filters_go_and_the_weights_are_those_that_were_computed(wrap: Wrap) -> None:
    model = network(wrap)
    state, mode = copy.deepcopy(model.state_dict()), [x.training for x in model.modules()]
    shrunk = shrink(model, IMAGES, keep=0.5)
    assert [len(layer.kept) for layer in shrunk.plan.layers] == [8, 6]
    assert shrunk.certificate.applies
    assert shrunk.certificate.ok
    assert sum(x.numel() for x in shrunk.model.parameters()) == 8 * 27 + 8 + 6 * 72 + 6 + 65 - 30
    (said, *_) = shrunk.notes
    assert said.startswith(WRAPS[wrap])
    kept = shrink(model, IMAGES, keep=1.0).model
    assert [x.training for x in model.modules()] == mode
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(kept.eval()(IMAGES), model.eval()(IMAGES))
    assert type(kept[0]) is nn.Conv2d  # type: ignore[index]
    assert not kept[0]._forward_pre_hooks  # type: ignore[index]


def test_filters_that_a_mask_silenced_go_first() -> None:
    model = network(masked)
    silent = model[0].weight.flatten(1).abs().sum(1) == 0
    kept = shrink(model, IMAGES, keep=0.75).plan.layers[0].kept
    assert int(silent.sum()) == 4
    assert not silent[list(kept)].any()


@every_wrap
def test_what_was_frozen_stays_frozen(wrap: Wrap) -> None:
    model = network(wrap)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    made = permanent(model).model
    assert not made[0].weight.requires_grad  # type: ignore[index]
    assert made[2].weight.requires_grad  # type: ignore[index]


def test_a_parametrized_buffer_stays_a_buffer() -> None:
    norm = nn.BatchNorm2d(4)
    parametrize.register_parametrization(norm, "running_mean", Doubled())
    made = permanent(norm).model
    assert torch.equal(dict(made.named_buffers())["running_mean"], norm.running_mean)


def test_a_plain_network_is_itself() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert as_plain(model).model is model
    assert as_plain(model).notes == ()


@every_wrap
def test_a_trace_of_the_network_as_it_is_explains_its_layers(wrap: Wrap) -> None:
    kept = trace(network(wrap), IMAGES).kept_whole
    assert {"0", "2", "6"} <= set(kept)
    assert "computed from other tensors" in kept["0"]


def test_a_smaller_network_comes_back_from_its_file(tmp_path: Path) -> None:
    shrunk = shrink(plain(), IMAGES, keep=0.5)
    path = tmp_path / "model.safetensors"
    save_pruned(path, shrunk.model, Origin(None, 5), shrunk.cut.kept, {})
    again = load_pruned(path, plain())
    with torch.no_grad():
        assert torch.equal(again(IMAGES), shrunk.model.eval()(IMAGES))


def test_a_checkpoint_of_such_a_network_opens_as_plain_layers(tmp_path: Path) -> None:
    model = plain()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    arch = f"{__name__}:plain"
    opened = load_checkpoint(str(tmp_path / "model.pt"), arch=arch)
    assert any(note.startswith("weight norm of 2 tensors") for note in opened.notes)
    with torch.no_grad():
        assert torch.equal(opened.model(IMAGES), model.eval()(IMAGES))
    assert not any(map(parametrize.is_parametrized, opened.model.modules()))
