"""Architectures by name: shapes, keys, options, and what is said about a wrong name."""

import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.callables import Trusted


@pytest.mark.parametrize(
    ("arch", "size", "num_parameters"),
    [
        ("vgg6", (3, 32, 32), 3_918_858),
        ("vgg6:in_channels=1", (1, 16, 16), 3_917_706),
        ("vgg11", (3, 28, 28), 9_231_114),
        ("vgg16", (3, 32, 32), 14_728_266),
        ("avgg16", (3, 32, 32), 14_728_266),
        ("resnet20", (3, 32, 32), 269_722),
        ("resnet56", (3, 32, 32), 853_018),
    ],
)
def test_a_zoo_network_has_its_published_size_and_gives_logits(
    arch: str, size: tuple[int, int, int], num_parameters: int
) -> None:
    network = zoo.build(arch, 10)
    assert sum(p.numel() for p in network.parameters()) == num_parameters
    assert not network.training
    assert network(torch.rand(2, *size)).shape == (2, 10)


def test_a_width_scales_every_layer() -> None:
    network = zoo.build("vgg16:width=0.25", 10)
    assert network.state_dict()["features.40.weight"].shape == (128, 128, 3, 3)


def test_pools_of_avgg16_move_next_to_the_output() -> None:
    sizes = {}
    for arch in ("vgg16", "avgg16:early_pools=1", "avgg16:early_pools=5"):
        network = zoo.build(f"{arch}{',' if '=' in arch else ':'}width=0.05", 10)
        shapes: list[tuple[int, ...]] = []
        last = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        last.register_forward_hook(lambda m, i, o, shapes=shapes: shapes.append(tuple(o.shape)))
        assert network(torch.rand(1, 3, 32, 32)).shape == (1, 10)
        sizes[arch] = shapes[0][2]
    assert sizes == {"vgg16": 2, "avgg16:early_pools=1": 16, "avgg16:early_pools=5": 2}


def test_an_option_a_shortcut_has_no_parameters_and_pads_with_zeros() -> None:
    network = zoo.build("resnet20", 10)
    assert not any("shortcut" in name or "downsample" in name for name in network.state_dict())
    block = network.get_submodule("layer2.0")
    stream = torch.rand(1, 16, 8, 8)
    short = block.shortcut(stream)  # type: ignore[operator]
    assert torch.equal(short[:, 8:24], stream[:, :, ::2, ::2])
    assert short[:, :8].abs().sum() == short[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("arch", ["vgg6:in_channels=1,width=0.5", "torchvision:resnet18", "a.b:c"])
def test_a_name_survives_reading_and_writing(arch: str) -> None:
    assert str(zoo.parse_arch(arch)) == arch


def test_input_channels_are_part_of_the_name() -> None:
    assert zoo.with_channels("vgg6", 1) == "vgg6:in_channels=1"
    assert zoo.with_channels("vgg6:in_channels=1", 3) == "vgg6"
    grey = zoo.build("torchvision:squeezenet1_1:in_channels=1", 5)
    assert grey(torch.rand(1, 1, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize(
    ("arch", "error", "words"),
    [
        ("vgg17", UsageError, "did you mean vgg16"),
        ("torchvision:resnet19", UsageError, "did you mean resnet18"),
        ("vgg6:depth=3", UsageError, "depth"),
        ("vgg6:width=0", UsageError, "width"),
        ("vgg6:in_channels=", UsageError, "key=value"),
        ("no_such_module:build", InputError, "cannot be imported"),
        ("os.path:nothing", InputError, "no callable named nothing"),
        ("os:getcwd", InputError, "must return a torch.nn.Module"),
    ],
)
def test_a_wrong_name_is_one_clear_line(arch: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        zoo.build(Trusted(arch), 10)
    assert "\n" not in str(caught.value)


def test_a_callable_may_ask_for_the_number_of_labels(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "my_networks.py").write_text(
        "from torch import nn\n"
        "def small(num_classes, width=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(width, num_classes))\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for arch in (Trusted("my_networks:small"), Trusted("my_networks:small:width=9")):
        assert zoo.build(arch, 7)(torch.rand(1, 3, 8, 8)).shape == (1, 7)


@pytest.mark.parametrize("arch", ["vgg6:width=0.1", "torchvision:squeezenet1_1"])
def test_a_seed_decides_the_weights_and_leaves_the_global_generator_as_it_was(arch: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, other = zoo.build(arch, 10, seed=0), zoo.build(arch, 10, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)  # whatever was drawn in between
    again = zoo.build(arch, 10, seed=0)
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_empty_build_has_the_shapes_of_a_real_one() -> None:
    empty = zoo.build_empty("torchvision:regnet_y_400mf", 10).state_dict()
    real = zoo.build("torchvision:regnet_y_400mf", 10).state_dict()
    assert {k: v.shape for k, v in empty.items()} == {k: v.shape for k, v in real.items()}
    assert next(iter(empty.values())).device.type == "meta"
