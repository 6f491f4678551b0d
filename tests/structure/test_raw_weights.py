"""Parameters that code multiplies itself: pruned like layers, or listed with the reason."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from prune_dl.prune import shrink
from prune_dl.prune.api import Shrunk
from prune_dl.prune.job.layers import layer_costs
from prune_dl.prune.mechanism.files import filter_norms
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.tracing.kernels import kernels_of
from prune_dl.prune.structure.tracing.recorder import Recorder
from prune_dl.prune.structure.tracing.trace import trace
from scenes import structure_zoo as zoo
from torch import Tensor, nn


def value(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / 3)


def kernels() -> zoo.Built:
    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = F.conv2d(F.conv2d(x, net.first).relu(), net.second)
        return net.head(zoo.pool(x.relu()))

    parts = {"first": value(8, 3, 3, 3), "second": value(6, 8, 3, 3), "head": zoo.head(6)}
    return zoo.Net(forward, **parts), zoo.images()


def matrices() -> zoo.Built:
    """A product from the right, `F.linear`, a transposed kernel and a product of low rank."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = zoo.pool(net.a(x)) @ net.right + net.bias
        x = F.linear(x.relu(), net.linear).relu()
        x = F.conv_transpose2d(x[:, :, None, None], net.transposed)
        return net.head(zoo.pool(x.relu()) @ (net.down @ net.up))

    parts = {"right": value(8, 12), "bias": value(12), "linear": value(10, 12)}
    parts |= {"transposed": value(10, 6, 3, 3), "down": value(6, 4), "up": value(4, 8)}
    return zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8), **parts), zoo.images()


def queries() -> zoo.Built:
    """Learned queries of attention: their rows are no filters, their width goes with the keys."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.a(x).flatten(2).transpose(1, 2)
        shares = (net.queries.expand(len(x), -1, -1) @ net.key(x).transpose(1, 2)).softmax(-1)
        return net.head((shares @ x).mean(1))

    parts = {"queries": value(1, 7, 6), "key": nn.Linear(8, 6), "head": zoo.head(8)}
    return zoo.Net(forward, a=zoo.conv(3, 8), **parts), zoo.images()


def attention() -> zoo.Built:
    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.a(x).flatten(2).transpose(1, 2)
        return net.head(net.attention(x, x, x)[0].mean(1))

    parts = {"attention": nn.MultiheadAttention(8, 2, batch_first=True), "head": zoo.head(8)}
    return zoo.Net(forward, a=zoo.conv(3, 8), **parts), zoo.images()


def unused() -> zoo.Built:
    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        return net.head(zoo.pool(net.a(x)))

    return zoo.Net(forward, a=zoo.conv(3, 8), b=zoo.conv(8, 8), head=zoo.head(8)), zoo.images()


MADE = (kernels, matrices, queries, attention, unused)


def shrunk(build: Callable[[], zoo.Built]) -> Shrunk:
    torch.manual_seed(0)
    model, images = build()
    return shrink(model.eval(), images, keep=0.5)


@pytest.mark.parametrize(
    ("build", "widths"),
    [
        (kernels, {"first": 4, "second": 3}),
        (matrices, {"a": 4, "right": 6, "linear": 5, "transposed": 3, "up": 4}),
        (queries, {"a": 4, "key": 3}),
    ],
)
def test_filters_of_raw_weights_go(build: Callable[[], zoo.Built], widths: dict[str, int]) -> None:
    found = shrunk(build)
    assert {layer.name: len(layer.kept) for layer in found.plan.layers} == widths
    assert found.certificate.applies
    assert found.certificate.ok
    assert found.kept_whole == {"head": "it is the output of the network"}


def test_costs_and_norms_of_a_raw_weight_are_its_own() -> None:
    torch.manual_seed(0)
    model, images = kernels()
    cut = shrink(model, images, keep=0.5).cut
    costs = layer_costs(model, cut)
    assert costs["second"].params.original == 6 * 8 * 9
    assert costs["second"].params.final == 3 * 4 * 9
    assert costs["second"].macs.original == 6 * 8 * 9 * 16
    assert sum(x.macs.original for x in costs.values()) == CostModel.of(model, cut.structure).macs(
        torch.tensor([8, 6]).numpy()
    )
    first, _ = filter_norms(model, cut.structure)
    assert first == pytest.approx(model.first.detach().flatten(1).norm(dim=1).numpy())


@pytest.mark.parametrize("criterion", ["l2", "fpgm", "lamp", "random"])
def test_every_criterion_of_weights_ranks_raw_ones(criterion: str) -> None:
    model, images = matrices()
    assert shrink(model, images, keep=0.5, criterion=criterion).certificate.ok


def test_a_raw_weight_may_be_named() -> None:
    model, images = kernels()
    found = shrink(model, images, keep=0.5, whole="first")
    assert [layer.name for layer in found.plan.layers] == ["second"]
    assert found.kept_whole["first"] == "kept whole, as you asked"


def test_a_layer_that_does_not_run_is_listed() -> None:
    assert shrunk(unused).kept_whole["b"] == "it does not run on these inputs"


def unexplained(model: nn.Module, inputs: object, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Convolutions, linear layers and multiplied parameters of which the structure says nothing."""
    multiplied: set[str] = set()

    class Noting(Recorder):
        def _read(self, *arguments: object, **named: object) -> object:  # type: ignore[override]
            record = super()._read(*arguments, **named)  # type: ignore[arg-type]
            multiplied.update(x.parameter for x in kernels_of(record.op, self._origin_of))
            return record

    monkeypatch.setattr("prune_dl.prune.structure.tracing.trace.Recorder", Noting)
    structure = trace(model.eval(), inputs)
    writers = {name for group in structure.groups for name in group.writers}
    told = writers | set(structure.kept_whole)
    assert all(structure.kept_whole.values())
    kinds = nn.modules.conv._ConvNd | nn.Linear
    layers = {name for name, module in model.named_modules() if isinstance(module, kinds)}
    weights = {f"{name}.weight".lstrip(".") for name in told} | {name for name, _ in structure.axes}
    names = {name for name, _ in model.named_parameters()}
    return (layers - told) | ((multiplied & names) - weights - told)


@pytest.mark.parametrize("build", [*zoo.EXACT, *MADE], ids=lambda build: build.__name__)
def test_nothing_that_is_multiplied_is_left_unexplained(
    build: Callable[[], zoo.Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    assert unexplained(*build(), monkeypatch) == set()


def torchvision_names() -> list[str]:
    """Classifiers of torchvision, without the largest: one of each size says what both say."""
    from torchvision import models

    largest = ("vit_h_14", "regnet_y_128gf")
    return [name for name in models.list_models(module=models) if name not in largest]


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_nothing_of_torchvision_is_left_unexplained(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    fixed = name.startswith(("vit", "maxvit"))
    side = 224 if fixed else 299 if name == "inception_v3" else 96
    model = models.get_model(name, weights=None, **options)
    assert unexplained(model, torch.randn(1, 3, side, side), monkeypatch) == set()


FAMILIES = (
    *("test_resnet", "test_vit", "test_convnext", "test_nfnet", "botnet26t_256", "cait_xxs24_224"),
    *("coat_tiny", "convit_tiny", "crossvit_tiny_240", "gcvit_xxtiny", "lambda_resnet26t"),
    *(
        "levit_128",
        "mixnet_s",
        "mobilevit_xxs",
        "swin_tiny_patch4_window7_224",
        "xcit_nano_12_p16_224",
    ),
    *("edgenext_xx_small", "nextvit_small", "sequencer2d_s", "vit_tiny_patch16_dinov3_qkvb"),
    *("gmlp_ti16_224", "efficientnet_cc_b0_4e", "maxvit_pico_rw_256", "volo_d1_224", "csatv2"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_of_timm_is_left_unexplained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, pretrained=False)
    images = torch.randn(1, *model.pretrained_cfg["input_size"])
    assert unexplained(model, images, monkeypatch) == set()
