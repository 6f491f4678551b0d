"""Less depth: cut a network off at a layer, or take residual branches out of it.

Cut off: the layers with tensors of their own that run from a given layer on become `nn.Identity`;
the last linear layer, the classifier, takes what arrives there. The class of the network, and
everything without tensors (pooling, flattening, sums of residual branches), stay.

A residual block that becomes `nn.Identity` has lost its branch: its input passes through.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..errors import InputError, first_line
from ..forward import FORWARD_ERRORS, Arguments, call, evaluating, input_of, watching
from ..outputs import logits_of

PASS_THROUGH_TOLERANCE = 1e-5
"""Relative difference up to which a block with zeros for parameters counts as returning its input.

Most return it bit for bit; code that scales its input and back rounds, by about 1e-7 in float32.
"""


@dataclass(frozen=True)
class DepthCut:
    """What was taken out in depth: plain values, so that a file can hold it.

    Attributes:
        passed: modules that pass their input on.
        classifier: the linear layer that gives the outputs.
        num_features: its inputs.
    """

    passed: tuple[str, ...]
    classifier: str
    num_features: int


def find_cut(model: nn.Module, layer: str, example_inputs: Any) -> DepthCut:
    """How to cut a network off so that `layer` is the first that no longer computes.

    The network is left as it was.

    Raises:
        InputError: the network does not end in a linear layer, a layer runs both before and after
            the cut, or the network does not run when it is cut off there.
    """
    names = _names_in_order(model, example_inputs)
    classifier = names[-1]
    if layer not in names[:-1]:
        raise InputError(
            f"a cut at {layer} given; expected a layer that runs before {classifier}; "
            "choose one of those"
        )
    start = names.index(layer)
    passed = tuple(dict.fromkeys(names[start:-1]))
    shared = {*passed, classifier} & {*names[:start]}
    if shared:
        raise InputError(
            f"a cut at {layer} given, after which {min(shared)} runs again; "
            "expected every layer on one side of the cut; choose another layer"
        )
    trial = copy.deepcopy(model)
    _pass_on(trial, passed)
    return DepthCut(passed, classifier, _num_features(trial, layer, classifier, example_inputs))


def find_classifier(model: nn.Module, example_inputs: Any) -> tuple[str, int]:
    """The linear layer that gives the outputs, and how many inputs it has.

    Raises:
        InputError: the network does not end in a linear layer.
    """
    name = _names_in_order(model, example_inputs)[-1]
    linear = model.get_submodule(name)
    assert isinstance(linear, nn.Linear), "checked by _names_in_order"
    return name, linear.in_features


def residual_blocks(model: nn.Module, example_inputs: Any) -> tuple[str, ...]:
    """Blocks that give back their very input once all their parameters are zero, as they run.

    That is what a residual block does whose branch is gone, whatever its code looks like. Of
    blocks within blocks the inner ones are meant; one that runs more than once is left out. The
    network is left as it was.
    """
    trial = copy.deepcopy(model)
    runs: dict[str, list[_Run]] = {}
    blocks = [
        name
        for name, module in trial.named_modules()
        if name and any(True for _ in module.children()) and any(True for _ in module.parameters())
    ]

    def note(name: str, arguments: Arguments, named: dict[str, Any]) -> None:
        runs.setdefault(name, []).append(_Run(arguments, named))

    with watching(trial, blocks, before=note):
        call(trial, example_inputs)
    with evaluating(trial):
        found = [
            name
            for name, given in runs.items()
            if len(given) == 1 and given[0].passes_through(trial.get_submodule(name))
        ]
    return tuple(x for x in found if not any(y.startswith(f"{x}.") for y in found))


class _Run:
    """What a module was called with; copied, because later code may write into it."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = tree_map(
            lambda x: x.clone() if isinstance(x, Tensor) else x, (args, kwargs)
        )

    def passes_through(self, module: nn.Module) -> bool:
        """Whether a copy with zeros for parameters returns its only argument."""
        if len(self.args) != 1 or self.kwargs or not isinstance(self.args[0], Tensor):
            return False
        empty = copy.deepcopy(module)
        for parameter in empty.parameters():
            parameter.zero_()
        given = self.args[0].clone()
        try:
            returned = empty(*self.args)
        except FORWARD_ERRORS:
            return False  # code that cannot run on zeros is no residual block
        return (
            isinstance(returned, Tensor)
            and returned.shape == given.shape
            and torch.allclose(returned, given, rtol=PASS_THROUGH_TOLERANCE)
        )


def cut_off(model: nn.Module, cut: DepthCut) -> None:
    """Take it out of a fresh network, in place; its classifier gives zeros until it has weights.

    Raises:
        InputError: the network has no such layers.
    """
    try:
        linear = model.get_submodule(cut.classifier)
        _pass_on(model, cut.passed)
    except AttributeError as error:
        raise InputError(
            f"a cut given that does not fit the network ({first_line(error)}); "
            "expected layers that it has; give the architecture that was cut"
        ) from error
    if not isinstance(linear, nn.Linear):
        raise InputError(
            f"a cut given whose classifier is {cut.classifier}; expected a linear layer; "
            "give the architecture that was cut"
        )
    fresh = nn.Linear(cut.num_features, linear.out_features).to(linear.weight)
    with torch.no_grad():
        fresh.weight.zero_()
        fresh.bias.zero_()
    _replace(model, cut.classifier, fresh)


def _names_in_order(model: nn.Module, example_inputs: Any) -> list[str]:
    """Modules with tensors of their own as they run; the last one is linear and gives the output.

    Raises InputError otherwise.
    """
    names: list[str] = []
    last_output: list[Any] = []

    def note(name: str, _args: Arguments, _named: dict[str, Any], output: Any) -> None:
        names.append(name)
        last_output[:] = [output]

    layers = [
        name
        for name, module in model.named_modules()
        if name
        and any(x is not None for x in [*module._parameters.values(), *module._buffers.values()])
    ]
    with watching(model, layers, after=note):
        output = call(model, example_inputs)
    if (
        not names
        or not isinstance(model.get_submodule(names[-1]), nn.Linear)
        or last_output[0] is not logits_of(output)
    ):
        raise InputError(
            "a network given that does not end in a linear layer; expected one to cut off; "
            "leave `cut_depth` out"
        )
    return names


def _num_features(trial: nn.Module, layer: str, classifier: str, example_inputs: Any) -> int:
    """Width of what arrives at the classifier of a network that was cut off; changes `trial`."""
    arrived: list[Tensor] = []
    _replace(trial, classifier, nn.Identity())

    def note(_: str, arguments: Arguments, named: dict[str, Any]) -> None:
        arrived.append(input_of(arguments, named))

    try:
        with watching(trial, [classifier], before=note):
            call(trial, example_inputs)
    except FORWARD_ERRORS as error:
        raise InputError(
            f"a cut at {layer} given, with which the network does not run ({first_line(error)}); "
            "expected a layer that what follows can do without; choose another"
        ) from error
    return int(arrived[0].shape[-1])


def _pass_on(model: nn.Module, names: tuple[str, ...]) -> None:
    for name in names:
        model.get_submodule(name)  # AttributeError where there is none
        _replace(model, name, nn.Identity())


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
