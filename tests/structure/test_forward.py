"""Running a network and looking inside it leaves no trace, after success and after an error."""

import collections
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from prune_dl.prune.forward import (
    arguments_of,
    call,
    evaluating,
    input_of,
    map_tensors,
    tensors_of,
    unfused_attention,
    watching,
)
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from scenes import structure_zoo as zoo
from scenes.plans import layers_of, random_plan
from torch import Tensor, nn

Enter = Callable[[nn.Module], AbstractContextManager[None]]


class Frozen(nn.BatchNorm2d):
    """A batch norm that its user keeps in evaluation mode, whatever the network is in."""

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


def mixed() -> nn.Module:
    """A network in training mode with a frozen batch norm and a layer that was put aside."""
    model = nn.Sequential(zoo.conv(3, 8), Frozen(8), nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten())
    model.train()
    model[3].eval()
    return model


def note_nothing(*_: Any) -> None:
    pass


@contextmanager
def watched(model: nn.Module) -> Iterator[None]:
    with watching(model, ["0", "2"], before=note_nothing, after=note_nothing):
        yield


def state_of(model: nn.Module) -> list[object]:
    """What looking inside could leave behind."""
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    modes = [m.training for m in model.modules()]
    return [hooks, modes, torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()]


@pytest.mark.parametrize("enter", [evaluating, watched], ids=lambda enter: enter.__name__)
@pytest.mark.parametrize("gradients", [True, False])
def test_everything_is_as_it_was_after_success_and_after_an_error(
    enter: Enter, gradients: bool
) -> None:
    model = mixed()
    with torch.set_grad_enabled(gradients):
        before = state_of(model)
        with enter(model):
            assert not any(m.training for m in model.modules())
            assert not torch.is_grad_enabled()
            assert call(model, zoo.images()).grad_fn is None
        assert state_of(model) == before
        with pytest.raises(RuntimeError, match="channels"), enter(model):
            call(model, torch.ones(2, 4, 8, 8))
        assert state_of(model) == before
        with pytest.raises(KeyboardInterrupt), enter(model):
            raise KeyboardInterrupt
        assert state_of(model) == before
    assert [m.training for m in model.children()] == [True, False, True, False, True]


def test_a_mode_that_a_module_would_not_take_by_itself_is_given_back() -> None:
    model = mixed()
    model[1].training = True
    with evaluating(model):
        assert not model[1].training
    assert model[1].training


def test_running_means_do_not_follow_what_is_looked_at() -> None:
    model = mixed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with watched(model):
        call(model, zoo.images())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_gradients_are_recorded_where_they_are_asked_for() -> None:
    model = mixed()
    with torch.no_grad():
        with evaluating(model, gradients=True):
            call(model, zoo.images()).sum().backward()
        assert not torch.is_grad_enabled()
    assert model[0].weight.grad is not None


def test_several_networks_are_evaluated_together_and_each_gets_its_modes_back() -> None:
    one, other = mixed(), mixed().eval()
    before = [state_of(one), state_of(other)]
    with evaluating(one, other):
        assert not any(m.training for model in (one, other) for m in model.modules())
    assert [state_of(one), state_of(other)] == before


@pytest.mark.parametrize("was_enabled", [True, False])
def test_fused_attention_is_as_it_was(was_enabled: bool) -> None:
    mha = torch.backends.mha
    at_first = mha.get_fastpath_enabled()
    try:
        mha.set_fastpath_enabled(was_enabled)
        with unfused_attention():
            assert not mha.get_fastpath_enabled()
        assert mha.get_fastpath_enabled() == was_enabled
        with pytest.raises(ValueError, match="stop"), unfused_attention():
            raise ValueError("stop")
        assert mha.get_fastpath_enabled() == was_enabled
    finally:
        mha.set_fastpath_enabled(at_first)


def test_layers_inside_attention_are_seen() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    seen: dict[str, bool] = {}

    def before(layer: str, *_: Any) -> None:
        seen[layer] = torch.backends.mha.get_fastpath_enabled()

    with watching(model, ["linear1", "self_attn"], before=before):
        call(model, torch.randn(2, 3, 8))
    assert seen == {"self_attn": False, "linear1": False}


def test_layers_called_by_name_are_seen_with_what_they_get_and_give() -> None:
    def forward(net: zoo.Net, x: Tensor) -> object:
        return net.head(input=zoo.pool(net.a(x)))

    model = zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8))
    seen: list[tuple[str, Tensor]] = []
    given: list[Tensor] = []

    def before(layer: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append((layer, input_of(arguments, named)))
        given.append(input_of(arguments, named))

    def after(layer: str, _: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
        seen.append((layer, output))
        assert (layer == "head") == ("input" in named)

    with watching(model, ["a", "head"], before=before, after=after):
        output = call(model, zoo.images())
    assert [layer for layer, _ in seen] == ["a", "a", "head", "head"]
    assert given[1].shape == (2, 8)
    assert seen[-1][1] is output


def test_a_layer_is_told_of_once_a_run_and_runs_as_it_was_left() -> None:
    model = nn.Sequential(layer := nn.Linear(2, 2, bias=False), nn.ReLU(), layer)
    runs: list[str] = []

    def double(name: str, *_: Any) -> None:
        runs.append(name)
        layer.weight.fill_(len(runs))

    with watching(model, ["0", "0"], before=double):
        found = call(model, torch.ones(1, 2))
    assert runs == ["0", "0"]
    assert found.tolist() == [[8.0, 8.0]]  # 1 x (1 + 1) = 2, then 2 x (2 + 2)


def test_what_is_raised_inside_ends_the_pass_and_comes_out() -> None:
    class Enough(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Enough

    model, ran = mixed(), []
    before = state_of(model)
    layers = watching(model, ["3"], after=lambda *_: ran.append(0))
    with pytest.raises(Enough), watching(model, ["2"], before=stop), layers:
        call(model, zoo.images())
    assert ran == []
    assert state_of(model) == before


def test_a_layer_that_is_not_there_leaves_nothing_behind() -> None:
    model = mixed()
    before = state_of(model)
    with pytest.raises(AttributeError), watching(model, ["0", "gone"], after=note_nothing):
        pass
    assert state_of(model) == before


class Pair(nn.Module):
    """Two inputs, the second of them optional."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))

    def forward(self, first: Any, second: Any = 0.0) -> Any:
        return first * self.scale - second + self.shift


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (torch.tensor(3.0), 3.0),
        ((torch.tensor(3.0),), 3.0),
        ((torch.tensor(3.0), torch.tensor(1.0)), 2.0),
        ([torch.tensor(3.0), torch.tensor(1.0)], 2.0),
        ({"first": torch.tensor(3.0), "second": torch.tensor(1.0)}, 2.0),
        (collections.UserDict(second=torch.tensor(1.0), first=torch.tensor(3.0)), 2.0),
    ],
)
def test_a_call_takes_a_tensor_a_tuple_a_list_or_a_dictionary(
    inputs: object, expected: float
) -> None:
    model = Pair()
    doubled = {"scale": torch.tensor(2.0), "shift": torch.tensor(10.0)}
    with torch.no_grad():
        assert call(model, inputs).item() == call(model, inputs, {}).item() == expected
        assert call(model, inputs, doubled).item() == expected + 3 + 10
    assert (model.scale.item(), model.shift.item()) == (1.0, 0.0)
    assert set(doubled) == {"scale", "shift"}


def test_replaced_parameters_are_gone_after_an_error() -> None:
    model = Pair()
    with pytest.raises(TypeError):
        call(model, "text", {"scale": torch.tensor(2.0)})
    assert model.scale.item() == 1.0
    assert isinstance(model.scale, nn.Parameter)


def test_replaced_parameters_of_a_layer_with_two_names_are_put_back() -> None:
    model = nn.Module()
    model.first = nn.Linear(2, 2)
    model.second = model.first
    model.third = nn.Linear(2, 2)
    model.third.weight = model.first.weight
    model.forward = lambda x: model.third(model.second(x))
    own = model.first.weight
    for name in ("first.weight", "second.weight", "third.weight"):
        found = call(model, torch.ones(1, 2), {name: torch.zeros(2, 2)})
        assert torch.equal(found, model.third.bias[None])
        assert model.first.weight is model.second.weight is model.third.weight is own


def test_no_argument_at_all_is_an_empty_dictionary() -> None:
    assert arguments_of({}) == ((), {})
    assert arguments_of(({},)) == (({},), {})
    assert call(zoo.Net(lambda net: 5), {}) == 5


def test_tensors_of_inputs_are_mapped_wherever_they_are() -> None:
    one = torch.ones(2)
    given = collections.UserDict(a=one, b=[one, 3])
    found = map_tensors(lambda x: x + 1, given)
    assert found["a"].tolist() == found["b"][0].tolist() == [2, 2]
    assert found["b"][1] == 3
    assert given["a"] is one


def test_tensors_of_outputs_are_found_in_containers_and_attributes() -> None:
    @dataclass
    class Output:
        logits: Tensor
        others: list[Tensor]
        name: str = ""

    a, b, c = (torch.ones(size) for size in (1, 2, 3))
    assert [len(x) for x in tensors_of(({"x": a}, Output(b, [c]), None, 4))] == [1, 2, 3]


def both(net: zoo.Net, x: Tensor, y: Tensor) -> object:
    return net.head(zoo.pool(net.a(x) + net.b(y)))


def nested(net: zoo.Net, inputs: dict[str, Tensor]) -> object:
    return net.head(zoo.pool(net.a(inputs["x"]) + net.b(inputs["y"])))


IMAGES = {"x": zoo.images(), "y": zoo.images() * 2}


@pytest.mark.parametrize(
    ("forward", "inputs"),
    [
        (both, tuple(IMAGES.values())),
        (both, list(IMAGES.values())),
        (both, IMAGES),
        (both, collections.UserDict(IMAGES)),
        (nested, (IMAGES,)),
        (nested, [IMAGES]),
        (nested, {"inputs": IMAGES}),
    ],
)
def test_tracer_and_certificate_call_a_network_in_the_same_way(
    forward: Callable[..., object], inputs: object
) -> None:
    model = zoo.Net(forward, a=zoo.conv(3, 8), b=zoo.conv(3, 8), head=zoo.head(8))
    structure = trace(model, inputs)
    assert layers_of(structure) == {"a": 8}
    cut = Cut(structure, random_plan(structure))
    certificate = certify(model, remove(model, cut), cut, inputs)
    assert certificate.reason == "equal in float32"
    assert certificate.ok
    wrong = Cut(structure, random_plan(structure, seed=1))
    assert not certify(model, remove(model, wrong), cut, inputs).ok


def test_a_certificate_leaves_buffers_and_inputs_alone() -> None:
    """The code writes into both: each of the two networks runs on copies of its own."""

    def forward(net: zoo.Net, x: Tensor) -> object:
        net.seen += 1
        x.add_(float(net.seen))
        return net.head(zoo.pool(net.a(x)))

    model = zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8))
    model.register_buffer("seen", torch.zeros(()))
    inputs = zoo.images()
    structure = trace(model, inputs)
    cut = Cut(structure, random_plan(structure))
    smaller = remove(model, cut)
    assert certify(model, smaller, cut, inputs).reason == "equal in float32"
    assert torch.equal(inputs, zoo.images())
    assert float(model.seen) == float(smaller.seen) == 0
