"""What a network hands to one of its parts: recorded while it runs on the user's own batches."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, UsageError, first_line
from ..forward import FORWARD_ERRORS, Arguments, batch_size_of, call, watching
from .split import Batch, ChangedSplit, DataSet, Inputs

NAMES_SHOWN = 8
"""Parts that a message names."""


class _PartReached(Exception):
    """The part has been reached; the rest of the network is not needed."""


@dataclass(frozen=True, eq=False)
class PartRecorder:
    """Inputs of the network -> inputs of every call of its part.

    Attributes:
        whole: the network, on the device of the inputs.
        part: module path.
        runs_once: whether the part runs once for a batch: the rest then need not run.
    """

    whole: nn.Module
    part: str
    runs_once: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said of how it runs."""
        many = f"{self.part} runs several times for a batch: each run counts as one of its own"
        return () if self.runs_once else (many,)

    def __call__(self, inputs: Inputs) -> list[Inputs]:
        """Inputs of the part, of each of its calls.

        Raises:
            InputError: the part does not run, or takes what cannot be named.
        """
        found: list[Inputs] = []
        module = self.whole.get_submodule(self.part)

        def note(_: str, arguments: Arguments, named: dict[str, Any]) -> None:
            found.append(_as_inputs(module, arguments, named))
            if self.runs_once:
                raise _PartReached

        with suppress(_PartReached), watching(self.whole, [self.part], before=note):
            call(self.whole, inputs)
        if not found:
            raise InputError(
                f"`part={self.part}` given, which the network does not run in evaluation mode; "
                "expected a part that it runs on the inputs; give another"
            )
        return found


@dataclass(frozen=True, eq=False)
class PartSplit(ChangedSplit):
    """A split whose inputs are those of a part: one batch for every call of it.

    Attributes:
        split: of the whole network's inputs.
        recorder: what makes the part's inputs of them.
    """

    recorder: PartRecorder

    def changed(self, inputs: Inputs, labels_N: Tensor) -> Iterator[Batch]:
        """Inputs of the part; nothing reads their labels."""
        for given in self.recorder(inputs):
            yield (
                given,
                torch.zeros(batch_size_of(given), dtype=torch.int64, device=labels_N.device),
            )


def data_of_part(data: DataSet, recorder: PartRecorder) -> DataSet:
    """The same data as a part of the network is given them."""
    train, held_out, test = (
        PartSplit(part, recorder) for part in (data.train, data.held_out, data.test)
    )
    return replace(data, train=train, held_out=held_out, test=test)


def recorder_of(whole: nn.Module, part: str, inputs: Inputs) -> PartRecorder:
    """What records the inputs of a part, tried on one batch.

    Raises:
        UsageError: there is no part of that name.
        InputError: the network does not run on the inputs, or not the part.
    """
    require_part(whole, part)
    fresh = copy.deepcopy(whole)  # what watches the part itself must not see these runs
    try:
        num_calls = len(PartRecorder(fresh, part)(inputs))
    except FORWARD_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"inputs given on which {type(whole).__name__} does not run ({first_line(error)}); "
            "expected what it takes; give other batches, or a `collate_fn` that makes them"
        ) from error
    return PartRecorder(fresh, part, num_calls == 1)


def require_part(whole: nn.Module, part: str) -> None:
    """Refuse what cannot be pruned by itself.

    Raises:
        UsageError: a network has no module of that path, or it has no parameters.
        InputError: it shares weights with the rest, which would keep the old ones.
    """
    known = dict(whole.named_modules())
    if part in known and part:
        if any(True for _ in known[part].parameters()):
            _require_own_weights(whole, part)
            return
        raise UsageError(
            f"`part={part}` given, a {type(known[part]).__name__} without parameters; expected a "
            f"part with layers to prune, such as {part_names(whole)}"
        )
    near = get_close_matches(part, [name for name in known if name], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"`part={part}` given; expected a part of the network: {part_names(whole)}{hint}"
    )


def _require_own_weights(whole: nn.Module, part: str) -> None:
    own = {id(x): name for name, x in whole.get_submodule(part).named_parameters()}
    for name, x in whole.named_parameters(remove_duplicate=False):
        if id(x) in own and not name.startswith(f"{part}."):
            raise InputError(
                f"`part={part}` given, whose {own[id(x)]} is also {name} outside it; expected a "
                "part with weights of its own; give one that holds both"
            )


def part_names(whole: nn.Module) -> str:
    """Names of a network's children with parameters, the largest first."""
    sizes = {
        name: sum(x.numel() for x in child.parameters()) for name, child in whole.named_children()
    }
    names = sorted((name for name in sizes if sizes[name]), key=lambda name: -sizes[name])
    return ", ".join(names[:NAMES_SHOWN]) or "it has none"


def _as_inputs(module: nn.Module, arguments: Arguments, named: dict[str, Any]) -> Inputs:
    """The arguments in the form that `forward.call` takes."""
    if not named:
        alone = len(arguments) == 1 and isinstance(arguments[0], Tensor)
        return arguments[0] if alone else arguments
    if not arguments:
        return dict(named)
    try:
        bound = inspect.signature(module.forward).bind(*arguments, **named)
    except TypeError as error:
        raise InputError(
            f"a part given that is called with arguments that do not fit it ({first_line(error)})"
        ) from error
    kinds = {bound.signature.parameters[name].kind for name in bound.arguments}
    if not kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        raise InputError(
            f"a part {type(module).__name__} given that is called with positions and names in "
            "ways that cannot be repeated; expected arguments with names; give a part inside it"
        )
    return dict(bound.arguments)
