"""Sizes that modules keep as attributes are followed: integers, lists and tuples of them."""

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from prune_dl.prune import shrink
from prune_dl.prune.inputs import pruned_file
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.structure.attributes import state, stated
from prune_dl.prune.structure.certificate import Certificate, certify
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.stated import (
    Candidate,
    assignments,
    candidates_of,
    matching,
    names_in,
)
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from scenes import structure_zoo as zoo
from scenes.plans import layers_of, random_plan
from scenes.stated_sizes import (
    Stated,
    constants,
    depthwise_by_function,
    equal_parts,
    equal_sizes_of_two_attributes,
    groups_that_do_not_mix,
    half_of_the_whole,
    halves_by_list,
    layer_scale,
    network,
    norm_of_each_channel,
    rest_by_difference,
    scale_of_a_stored_shape,
    sizes_in_a_property_and_a_child,
    slices,
    slices_from_the_back,
    twice_an_attribute,
    two_attributes,
    unequal_by_tuple,
)
from torch import Tensor, nn


def cut_in_half(model: nn.Module) -> tuple[nn.Module, Structure, Certificate]:
    structure = trace(model, zoo.images())
    cut = Cut(structure, random_plan(structure, 0.5))
    smaller = remove(model, cut)
    return smaller, structure, certify(model, smaller, cut, zoo.images())


EXACT = (
    *(halves_by_list, unequal_by_tuple, two_attributes, rest_by_difference, equal_parts),
    *(half_of_the_whole, slices, slices_from_the_back, scale_of_a_stored_shape, layer_scale),
    *(depthwise_by_function, equal_sizes_of_two_attributes, sizes_in_a_property_and_a_child),
    *(groups_that_do_not_mix, constants, norm_of_each_channel, twice_an_attribute),
)


@pytest.mark.parametrize("build", EXACT, ids=lambda x: x.__name__)
def test_nothing_stays_whole_and_removing_is_silencing(build: Callable[[], nn.Module]) -> None:
    _, structure, certificate = cut_in_half(build())
    assert certificate.reason.startswith("equal"), certificate
    assert list(structure.kept_whole) == ["6"]  # the head


def test_lists_and_tuples_are_made_anew() -> None:
    model = halves_by_list()
    smaller, _, _ = cut_in_half(model)
    assert model[2].splits == [8, 8]
    assert smaller[2].splits == [smaller[2].a.in_channels, smaller[2].b.in_channels]
    model = unequal_by_tuple()
    smaller, _, _ = cut_in_half(model)
    widths = (smaller[2].a.in_channels, smaller[2].b.in_channels)
    assert smaller[2].indexes[0][1:] == widths
    assert smaller[2].indexes[1] == "same"
    assert model[2].indexes == ((8, 4, 4), "same")


def test_parts_of_a_list_shrink_each_on_its_own() -> None:
    structure = trace(halves_by_list(), zoo.images())
    assert layers_of(structure) == {"0": 8, "0#2": 8, "2.a": 8, "2.b": 8, "3": 6}


def test_the_two_sides_of_a_slice_shrink_each_on_its_own() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.cat([self.a(x[:, : self.first]), x[:, self.first :]], 1)

    structure = trace(network(Stated(forward, first=4, a=zoo.conv(4, 5)), 16, 17), zoo.images())
    assert layers_of(structure) == {"0": 4, "0#2": 12, "2.a": 5, "3": 6}


def test_as_many_groups_as_channels_in_each() -> None:
    """One attribute states two equal sizes of a view: it is the first, the number of groups."""

    def forward(self: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, self.groups, c // self.groups, h, w)
        return (x / x.var((2, 3, 4), keepdim=True).add(1e-5).sqrt()).reshape(n, c, h, w)

    few = [Stated(forward, groups=8), zoo.conv(16, 64), nn.ReLU()]
    model = network(nn.Sequential(*few, Stated(forward, groups=8)), 16, 64)
    smaller, structure, _ = cut_in_half(model)
    assert layers_of(structure) == {"0": 8, "2.1": 8, "3": 6}
    assert (smaller[2][0].groups, smaller[0].out_channels) == (4, 8)
    assert (smaller[2][3].groups, smaller[2][1].out_channels) == (8, 32)


def test_a_number_of_channels_that_follows_the_input_may_divide() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return x - x.sum(1, keepdim=True) / x.shape[1]

    _, structure, certificate = cut_in_half(network(Stated(forward), 16))
    assert layers_of(structure) == {"0": 16, "3": 6}
    assert not certificate.applies


def test_multiples_of_an_attribute_shrink_in_step() -> None:
    structure = trace(twice_an_attribute(), zoo.images())
    assert layers_of(structure) == {"0": 6, "2.conv": 6, "3": 6}


def test_sizes_survive_their_file_and_a_second_cut(tmp_path: Path) -> None:
    model = unequal_by_tuple()
    structure = trace(model, zoo.images())
    first = Cut(structure, random_plan(structure, 0.7))
    smaller = remove(model, first)
    again = trace(smaller, zoo.images())
    second = Cut(again, random_plan(again, 0.7))
    smallest = remove(smaller, second)
    assert certify(smaller, smallest, second, zoo.images()).reason.startswith("equal")
    kept = pruned_file.compose(first.kept, second.kept)
    pruned_file.save_pruned(tmp_path / "x.safetensors", smallest, Origin(None, 5), kept, {})
    rebuilt = pruned_file.load_pruned(tmp_path / "x.safetensors", unequal_by_tuple())
    assert rebuilt[2].indexes == smallest[2].indexes
    with torch.no_grad():
        assert torch.equal(rebuilt(zoo.images()), smallest(zoo.images()))


def test_a_norm_over_a_stored_shape() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.shape, self.weight, self.bias).permute(0, 3, 1, 2)

    vectors = {"weight": nn.Parameter(torch.ones(16)), "bias": nn.Parameter(torch.ones(16))}
    smaller, structure, certificate = cut_in_half(
        network(Stated(forward, shape=(16,), **vectors), 16)
    )
    assert layers_of(structure)["0"] == 16
    assert smaller[2].shape == (8,)
    assert "layer_norm" in certificate.reason  # it mixes channels


def test_a_kernel_that_runs_along_channels_sees_those_that_are_left() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        gate = self.conv(x.mean((2, 3)).view(len(x), 1, -1)).sigmoid()
        return x * gate.view(len(x), -1, 1, 1)

    eca = Stated(forward, conv=nn.Conv1d(1, 1, 3, padding=1, bias=False))
    _, structure, certificate = cut_in_half(network(eca, 16))
    assert layers_of(structure)["0"] == 16
    assert certificate.reason == "removed channels change the others through 2.conv: convolution"
    (product,) = (x for x in structure.products if x.layer == "2.conv")
    every, half = ([*[True] * n, *[False] * (structure.num_units - n), True] for n in (22, 8))
    assert product.macs(torch.tensor(every).numpy()) == 16 * 3
    assert product.macs(torch.tensor(half).numpy()) == 8 * 3


def test_a_number_that_code_computes_with_is_no_size_to_follow() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b = torch.split(x, [self.part, self.rest], dim=1)
        return torch.cat([a / self.part, b], 1)

    _, structure, certificate = cut_in_half(network(Stated(forward, part=6, rest=10), 16))
    assert certificate.reason.startswith("equal")
    assert "div" in structure.kept_whole["0"]


def test_attributes_that_the_code_does_not_name_stay() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.cat([x[:, :7] * 2, x[:, 7:]], 1)

    smaller, structure, certificate = cut_in_half(network(Stated(forward, seven=7), 16))
    assert certificate.reason.startswith("equal")
    assert "slice" in structure.kept_whole["0"]
    assert smaller[2].seven == 7


def test_names_of_attributes() -> None:
    module = nn.Identity()
    pair = namedtuple("pair", "first second")
    module.sizes, module.flag = [(8, 4), pair(3, 5)], True  # type: ignore[assignment]
    assert stated(module, "sizes[0][1]") == 4
    for missing in ("sizes", "sizes[0]", "sizes[2]", "sizes[0][1][0]", "flag", "none", "a.b", ""):
        assert stated(module, missing) is None
    before = module.sizes
    state(module, "sizes[1][1]", 2)
    assert module.sizes == [(8, 4), pair(3, 2)]
    assert type(module.sizes[1]) is pair  # type: ignore[index]
    assert before == [(8, 4), pair(3, 5)]


def test_the_likeliest_candidates_come_first() -> None:
    names = ("half", "width", "splits[0]", "splits[1]", "odd")
    known = [Candidate(*x) for x in zip(names, (4, 8, 4, 8, 7), strict=True)]
    assert [x.name for x in matching(known, [4, 8], 1)] == [
        "splits[1]",
        "width",
        "half",
        "splits[0]",
    ]
    key, value = Candidate("key", 8), Candidate("value", 8)
    found = assignments([(key, value)] * 3)
    assert found[:4] == [(key, key, key), (key, key, value), (key, value, value), (value,) * 3]
    assert assignments([(), ()]) == []


def test_only_attributes_that_the_code_names_are_candidates() -> None:
    module = nn.Module()
    module.inner, module.width, module.sizes = nn.Module(), 8, (4, 2)  # type: ignore[assignment]
    module.inner.width = 6  # type: ignore[assignment]
    found = candidates_of(module, frozenset({"width", "inner"}))
    assert {x.name: x.value for x in found} == {"width": 8, "inner.width": 6}
    assert [x.name for x in candidates_of(module, frozenset({"sizes"}))] == ["sizes[0]", "sizes[1]"]


def test_names_in_methods_and_properties_count() -> None:
    class Owner(nn.Module):
        @property
        def half(self) -> int:
            return int(self.whole // 2)

        def sizes(self) -> list[int]:
            return [self.half, self.rest]

        def forward(self, x: Tensor) -> Tensor:
            return x.split(self.sizes())[0]

    assert {"whole", "rest"} <= names_in(Owner, [Owner.forward.__code__])


FAMILIES = (
    *("res2net50_26w_4s", "skresnet18", "mixnet_s", "inception_next_atto", "fasternet_t0", "dpn68"),
    *("shvit_s1", "efficientvit_m0", "poolformer_s12", "convformer_s18", "resnetv2_50d_evos"),
    *("ecaresnet26t", "ese_vovnet39b_evos"),
)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_timm_are_pruned_throughout(family: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(family, num_classes=10).eval()
    images = zoo.images(size=224 if family == "efficientvit_m0" else 96)
    found = shrink(model, images, keep=0.6)
    left, all_of_it = (sum(x.numel() for x in net.parameters()) for net in (found.model, model))
    assert left <= 0.4 * all_of_it
    assert found.certificate.ok
    expected = {"it is the output of the network", "it has a single filter"}
    assert set(found.kept_whole.values()) <= expected
