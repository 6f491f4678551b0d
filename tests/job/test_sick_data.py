"""Small and sick data and networks: an honest result, or one line."""

import math
from collections.abc import Callable

import pytest
import torch
from prune_dl.prune.api import Compressed, compress, shrink
from prune_dl.prune.errors import InputError, PruneError
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

NUM_LABELS = 4


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, 2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, NUM_LABELS),
    ).eval()


def inverted_residual() -> nn.Sequential:
    """Depthwise in the middle, as in MobileNetV2."""

    def normed(*sizes: int, groups: int = 1) -> list[nn.Module]:
        inputs, outputs, kernel = sizes
        convolution = nn.Conv2d(
            inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False
        )
        return [convolution, nn.BatchNorm2d(outputs)]

    torch.manual_seed(0)
    return nn.Sequential(
        *(*normed(3, 8, 3), nn.ReLU6(), *normed(8, 48, 1), nn.ReLU6()),
        *(*normed(48, 48, 3, groups=48), nn.ReLU6(), *normed(48, 8, 1), *normed(8, 64, 1)),
        *(nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, NUM_LABELS)),
    ).eval()


def pictures(num_images: int, *, mean: float = 0.0, contrast: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return mean + contrast * torch.randn(num_images, 3, 12, 12, generator=generator)


def run(model: nn.Module, images: Tensor, labels_N: Tensor | None = None) -> Compressed:
    """The job, and what any result has to be: finite, smaller, with a passed certificate."""
    labels_N = torch.arange(len(images)) % NUM_LABELS if labels_N is None else labels_N
    loader = DataLoader(TensorDataset(images, labels_N), 32)
    done = compress(model, loader, NUM_LABELS, keep=0.6, epochs=0, device="cpu")
    assert done.outcome.certificate.ok
    assert all(bool(torch.isfinite(x).all()) for x in done.model.state_dict().values())
    with torch.no_grad():
        assert bool(torch.isfinite(done.model(images)).all())
    left = sum(len(layer.kept) for layer in done.planned.plan.layers)
    assert left < sum(layer.num_filters for layer in done.planned.plan.layers)
    return done


@pytest.mark.parametrize("contrast", [1.0, 0.3, 0.1, 0.03, 1e-4, 0.0])
def test_any_contrast_around_a_large_mean(contrast: float) -> None:
    run(network(), pictures(80, mean=1.0, contrast=contrast))


def test_low_contrast_is_repaired_as_well_as_high_contrast() -> None:
    """The same network and images but for an offset that the first bias takes off again."""
    images, model = pictures(200), network()
    model[0] = nn.Conv2d(3, 12, 3)  # without padding an offset is a constant
    far = network()
    far.load_state_dict(model.state_dict())
    far[0] = nn.Conv2d(3, 12, 3)
    with torch.no_grad():
        far[0].weight.copy_(model[0].weight * 100)
        far[0].bias.copy_(model[0].bias - far[0].weight.sum((1, 2, 3)))
    near = run(model, images).model(images)
    other = run(far, 1 + images / 100).model(1 + images / 100)
    torch.testing.assert_close(other, near, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("per_label", [2, 3, 6])
def test_few_images_for_each_label_are_said(per_label: int) -> None:
    done = run(network(), pictures(per_label * NUM_LABELS))
    assert any("rows for each input" in note for note in done.warnings), done.warnings


def test_one_image_for_each_label_leaves_none_to_decide_on() -> None:
    with pytest.raises(InputError, match=r"without held-out images") as error:
        run(network(), pictures(NUM_LABELS))
    assert "\n" not in str(error.value)


def test_identical_images() -> None:
    run(network(), pictures(1).expand(40, -1, -1, -1).clone())


def test_one_label_alone() -> None:
    run(network(), pictures(40), torch.zeros(40, dtype=torch.int64))


@pytest.mark.parametrize("num_images", [24, 100])
def test_depthwise_convolutions_and_few_images(num_images: int) -> None:
    run(inverted_residual(), pictures(num_images))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda m: m[1].bias.data.fill_(-100), id="all dead"),
        pytest.param(lambda m: m[4].bias.data.fill_(-100), id="last convolution dead"),
        pytest.param(lambda m: [p.data.zero_() for p in m.parameters()], id="all weights zero"),
        pytest.param(lambda m: m[0].weight.data.zero_(), id="first weights zero"),
        pytest.param(lambda m: m[3].weight.data.zero_(), id="second weights zero"),
        pytest.param(lambda m: m[1].weight.data.fill_(1e-30), id="tiny scale"),
        pytest.param(lambda m: m[1].weight.data.fill_(1e6), id="large scale"),
        pytest.param(lambda m: m[1].weight.data.fill_(-1.0), id="negative scale"),
        pytest.param(lambda m: m[1].running_var.fill_(1e-30), id="tiny variance"),
        pytest.param(lambda m: m[1].running_var.fill_(1e30), id="huge variance"),
        pytest.param(lambda m: m[1].running_mean.fill_(1e4), id="large mean"),
        pytest.param(lambda m: m[0].weight.data[1:].copy_(m[0].weight.data[:1]), id="all alike"),
    ],
)
def test_sick_networks_that_run_give_a_result(spoil: Callable[[nn.Module], object]) -> None:
    model = network()
    spoil(model)
    run(model, pictures(80))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda m: m[0].weight.data.view(-1)[:1].fill_(math.nan), id="NaN weight"),
        pytest.param(lambda m: m[3].weight.data.view(-1)[:1].fill_(math.inf), id="Inf weight"),
        pytest.param(lambda m: m[8].bias.data.view(-1)[:1].fill_(-math.inf), id="Inf bias"),
        pytest.param(lambda m: m[1].running_mean[:1].fill_(math.nan), id="NaN mean"),
        pytest.param(lambda m: m[4].running_var[:1].fill_(-1.0), id="negative variance"),
        pytest.param(lambda m: m[1].weight.data.fill_(1e30), id="huge scale"),
        pytest.param(lambda m: m[1].weight.data.fill_(3e38), id="largest scale"),
    ],
)
def test_networks_that_cannot_be_measured_end_in_one_line(
    spoil: Callable[[nn.Module], object],
) -> None:
    model = network()
    spoil(model)
    with pytest.raises(PruneError) as error:
        run(model, pictures(80))
    assert isinstance(error.value, InputError)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_named_before_anything_else() -> None:
    model = network()
    model[3].weight.data.view(-1)[:1].fill_(math.nan)
    with pytest.raises(InputError, match=r"3\.weight holds NaN or infinity"):
        run(model, pictures(80))
    with pytest.raises(InputError, match=r"3\.weight holds NaN or infinity"):
        shrink(model, pictures(2))
