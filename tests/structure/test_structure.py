"""Tracing and surgery: what goes together, exactness, and that the user's network survives."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from prune_dl.prune.forward import call, tensors_of
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from scenes import structure_zoo as zoo
from scenes.plans import layers_of, random_plan
from torch import nn


@pytest.mark.parametrize("build", zoo.EXACT, ids=lambda build: build.__name__)
def test_removing_equals_silencing(build: Callable[[], zoo.Built]) -> None:
    model, inputs = build()
    zoo.randomise(model)
    structure = trace(model, inputs)
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), inputs)
    assert structure.groups
    assert certificate.applies, certificate.reason
    assert certificate.ok, certificate.reason
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("build", zoo.EXACT, ids=lambda build: build.__name__)
def test_keeping_everything_is_the_identity(build: Callable[[], zoo.Built]) -> None:
    model, inputs = build()
    zoo.randomise(model)
    structure = trace(model, inputs)
    same = remove(model, Cut(structure, keep_everything(structure)))
    with torch.no_grad():
        pairs = zip(tensors_of(call(model, inputs)), tensors_of(call(same, inputs)), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("build", zoo.EXACT, ids=lambda build: build.__name__)
def test_cost_counts_the_network_that_surgery_makes(build: Callable[[], zoo.Built]) -> None:
    model, inputs = build()
    structure = trace(model, inputs)
    plan = random_plan(structure)
    cost = CostModel.of(model, structure)
    widths = np.array([len(layer.kept) for layer in plan.layers])
    smaller = remove(model, Cut(structure, plan))
    again = CostModel.of(smaller, trace(smaller, inputs))
    whole = np.array([len(group.units) for group in trace(smaller, inputs).groups])
    assert cost.params(widths) == sum(p.numel() for p in smaller.parameters())
    assert cost.macs(widths) == again.macs(whole)


def test_a_certificate_fails_when_a_wrong_filter_went() -> None:
    model, inputs = zoo.plain()
    structure = trace(model, inputs)
    smaller = remove(model, Cut(structure, random_plan(structure, seed=1)))
    certificate = certify(model, smaller, Cut(structure, random_plan(structure, seed=2)), inputs)
    assert not certificate.ok
    assert "differs" in certificate.reason


def test_a_norm_over_channels_is_named_instead_of_certified() -> None:
    model, inputs = zoo.group_norm()
    structure = trace(model, inputs)
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), inputs)
    assert not certificate.applies
    assert "1: native_group_norm" in certificate.reason
    assert smaller(inputs).shape == (2, 5)
    assert smaller[1].num_groups == 2  # type: ignore[index, union-attr]
    assert smaller[3].num_groups == smaller[3].num_channels  # type: ignore[index, union-attr]


def test_weights_that_are_standardised_over_their_inputs_are_named() -> None:
    """As in NFNets and BiT: a channel that is gone changes the mean of a filter."""

    def forward(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
        flat = net.b.weight.reshape(1, net.b.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape_as(net.b.weight)
        return net.head(zoo.pool(F.conv2d(net.a(x), weight, net.b.bias)))

    model = zoo.Net(forward, a=zoo.conv(3, 8), b=zoo.conv(8, 6), head=zoo.head(6))
    structure = trace(model, zoo.images())
    assert layers_of(structure) == {"a": 8, "b": 6}
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), zoo.images())
    assert not certificate.applies
    assert "batch_norm" in certificate.reason


def test_macs_equal_a_hand_count() -> None:
    model, inputs = zoo.plain()
    structure = trace(model, inputs)
    cost = CostModel.of(model, structure)
    by_hand = 8 * 3 * 9 * 64 + 6 * 8 * 9 * 16 + 96 * 10 + 10 * 5
    assert cost.macs(np.array([8, 6, 10])) == by_hand
    fewer = 4 * 3 * 9 * 64 + 3 * 4 * 9 * 16 + 48 * 2 + 2 * 5
    assert cost.macs(np.array([4, 3, 2])) == fewer


def test_a_residual_stream_is_one_group_with_both_writers() -> None:
    model, inputs = zoo.residual()
    structure = trace(model, inputs)
    stream = structure.groups[0]
    assert (stream.name, stream.writers, stream.readers) == ("a", ("a", "c"), ("b", "head"))
    assert structure.kept_whole == {"head": "it is the output of the network"}


def test_zeros_padded_into_a_stream_keep_their_channels() -> None:
    model, inputs = zoo.option_a()
    structure = trace(model, inputs)
    assert layers_of(structure) == {"a": 8}
    assert structure.kept_whole["b"].startswith("8 of 16 filters: it is padded with channels")


def test_a_flattened_reader_knows_which_features_are_one_channel() -> None:
    model, inputs = zoo.plain()
    reader = trace(model, inputs).readers["7"]
    assert reader.kind == "linear"
    assert len(reader.unit_C) == 6
    np.testing.assert_array_equal(reader.channel_of_feature_F, np.repeat(np.arange(6), 16))


def test_a_wide_flatten_does_not_expand_to_the_activation() -> None:
    model = nn.Sequential(conv := zoo.conv(3, 512), nn.Flatten(), nn.Linear(512 * 49, 4))
    reader = trace(model, torch.randn(8, 3, 7, 7)).readers["2"]
    assert conv.out_channels == 512
    assert len(reader.unit_C) == 512
    assert len(reader.channel_of_feature_F) == 25088


def test_an_operation_without_a_rule_keeps_what_it_touches_and_is_named() -> None:
    def forward(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
        x = net.b(net.a(x))
        return net.head(zoo.pool(torch.sort(x, dim=1).values))

    model = zoo.Net(forward, a=zoo.conv(3, 8), b=zoo.conv(8, 6), head=zoo.head(6))
    structure = trace(model, zoo.images())
    assert layers_of(structure) == {"a": 8}
    assert "sort" in structure.kept_whole["b"]


def test_the_network_is_left_as_it_was() -> None:
    model, inputs = zoo.plain()
    model.train()
    model[0].eval()  # type: ignore[index]
    model[4].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    before = copy.deepcopy(model.state_dict())
    structure = trace(model, inputs)
    remove(model, Cut(structure, random_plan(structure)))
    assert [m.training for m in model.children()] == [False, *[True] * 9]
    assert all(torch.equal(a, before[n]) for n, a in model.state_dict().items())
    assert torch.is_grad_enabled()


def test_hooks_are_gone_when_the_forward_pass_fails() -> None:
    from torch.nn.modules import module as registry

    model, _ = zoo.plain()
    with pytest.raises(ValueError, match="example inputs given on which Sequential does not run"):
        trace(model, torch.randn(2, 4, 8, 8))
    assert not registry._global_forward_pre_hooks
    assert not registry._global_forward_hooks


def test_parameters_keep_what_they_are() -> None:
    model, inputs = zoo.plain()
    model = model.to(dtype=torch.float64, memory_format=torch.channels_last)
    model[0].requires_grad_(False)  # type: ignore[index]
    structure = trace(model, inputs.double())  # type: ignore[attr-defined]
    smaller = remove(model, Cut(structure, random_plan(structure)))
    first = smaller[0]  # type: ignore[index]
    assert type(smaller) is type(model)
    assert [n for n, _ in smaller.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert first.weight.dtype == torch.float64
    assert first.weight.is_contiguous(memory_format=torch.channels_last)
    assert not first.weight.requires_grad
    assert first.weight.shape[0] == first.out_channels == 5
    assert smaller[1].num_features == 5  # type: ignore[index, union-attr]


def test_half_precision_is_certified_in_full_precision() -> None:
    model, inputs = zoo.plain()
    model = model.to(torch.bfloat16)
    half = inputs.to(torch.bfloat16)  # type: ignore[attr-defined]
    structure = trace(model, half)
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    assert certify(model, smaller, Cut(structure, plan), half).ok
    assert smaller(half).dtype == torch.bfloat16


def test_tied_weights_stay_tied() -> None:
    model, inputs = zoo.shared_and_tied()
    structure = trace(model, inputs)
    smaller = remove(model, Cut(structure, random_plan(structure)))
    assert smaller.b.weight is smaller.c.weight
    assert smaller.b.weight is not model.b.weight


def test_plain_weights_do_not_turn_channels_last() -> None:
    model = nn.Sequential(zoo.conv(8, 8, groups=8), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1))
    inputs = torch.randn(2, 8, 6, 6)
    structure = trace(model, inputs)
    for given in (model, copy.deepcopy(model).to(memory_format=torch.channels_last)):
        smaller = remove(given, Cut(structure, random_plan(structure, 0.5)))
        for name, weight in smaller.named_parameters():
            if weight.ndim == 4:
                order = given.get_parameter(name).clone().stride()
                expected = torch.empty(weight.shape).stride()
                if order != torch.empty(given.get_parameter(name).shape).stride():
                    last = torch.channels_last
                    expected = torch.empty(weight.shape, memory_format=last).stride()
                assert weight.stride() == expected


def test_code_that_writes_into_its_inputs_and_buffers_reaches_copies_only() -> None:
    def forward(net: zoo.Net, x: torch.Tensor) -> torch.Tensor:
        net.seen += 1
        x.sub_(float(x.mean()))
        return net.head(zoo.pool(net.a(x)))

    model = zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8))
    model.register_buffer("seen", torch.zeros(()))
    inputs = zoo.images() + 1
    before = inputs.clone()
    assert layers_of(trace(model, inputs)) == {"a": 8}
    assert torch.equal(inputs, before)
    assert float(model.seen) == 0


def test_a_frozen_network_in_training_mode_is_pruned_and_stays_frozen() -> None:
    model, inputs = zoo.residual()
    model.requires_grad_(False).train()
    structure = trace(model, inputs)
    smaller = remove(model, Cut(structure, random_plan(structure)))
    assert len(structure.groups) == 2
    assert smaller.training
    assert not any(p.requires_grad for p in smaller.parameters())


def test_float16_keeps_its_type_and_is_certified() -> None:
    model, inputs = zoo.plain()
    half = model.half()
    structure = trace(half, inputs.half())  # type: ignore[attr-defined]
    plan = random_plan(structure)
    smaller = remove(half, Cut(structure, plan))
    assert {p.dtype for p in smaller.parameters()} == {torch.float16}
    assert certify(half, smaller, Cut(structure, plan), inputs.half()).ok  # type: ignore[attr-defined]
