"""The one of several outputs that holds the logits, where its place has to be stated.

`logits_of` finds logits under the names that libraries use, or first in a tuple. Where a network
has them elsewhere, a forward hook puts them there: the network then gives

    {"logits": the chosen tensor, "outputs": all that it returned}

so that every stage finds them through `logits_of`, while the tracer and the certificate still see
all outputs, and protect the width of each. A hook and no wrapper: class, module paths and names of
parameters stay what the user and the files know. Copies of the network carry it along; it is taken
off (`without_choice`) from what is given back.

Shapes: N images, K labels.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .errors import InputError, UsageError
from .forward import FORWARD_ERRORS, call_on_copies, change_outputs, evaluating
from .outputs import describe_outputs, found_logits, logits_of, require_classifier

CHOSEN, ALL = "logits", "outputs"
"""Keys of what a network with a hook returns."""
MAX_NAMES = 12
"""Outputs that a message names."""


@dataclass(frozen=True)
class OutputHook:
    """Puts the output of a name where `logits_of` finds it. Bare tensors stay as they are."""

    name: str

    def __call__(self, module: nn.Module, arguments: Any, outputs: Any) -> Any:
        """What the network gives in place of its outputs."""
        if isinstance(outputs, Tensor):
            return outputs
        found = dict(named_outputs(outputs))
        if self.name not in found:
            raise InputError(_unknown(self.name, found))
        return {CHOSEN: found[self.name], ALL: outputs}


@dataclass(frozen=True)
class OutputChoice:
    """Which output holds the logits.

    Attributes:
        name: None where `logits_of` finds them by itself.
        notes: what has to be said of it.
    """

    name: str | None = None
    notes: tuple[str, ...] = ()


def named_outputs(outputs: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of an output with its name: key, field, attribute or index, joined by dots.

    >>> import torch
    >>> [name for name, _ in named_outputs({"aux": [torch.ones(1)], "head": torch.ones(1)})]
    ['aux.0', 'head']
    """
    if isinstance(outputs, Tensor):
        yield path, outputs
        return
    for name, value in _parts(outputs):
        yield from named_outputs(value, f"{path}.{name}" if path else name)


def _parts(outputs: Any) -> list[tuple[str, Any]]:
    """What an output is made of, by name."""
    if isinstance(outputs, Mapping):
        return [(str(key), value) for key, value in outputs.items()]
    if fields := getattr(outputs, "_fields", None):  # a named tuple
        return list(zip(fields, outputs, strict=True))
    if isinstance(outputs, tuple | list):
        return [(str(index), value) for index, value in enumerate(outputs)]
    return list(vars(outputs).items()) if hasattr(outputs, "__dict__") else []


def choose_output(
    model: nn.Module, inputs: Any, num_labels: int, asked: str | None
) -> OutputChoice:
    """The output that holds logits (N, `num_labels`), as the user says or as sizes tell.

    A network that gives bare tensors, does not run, or hides its layers is left to
    `require_classifier`.

    Args:
        inputs: a batch; `forward.call` takes it.
        asked: the user's word: a key, an attribute, an index or several, joined by dots.

    Raises:
        UsageError: there is no output of that name, or it does not hold logits.
        InputError: several could be them, and none stands where logits are looked for.
    """
    outputs = _outputs_of(model, inputs)
    if outputs is None or isinstance(outputs, Tensor):
        if asked is not None and outputs is not None:
            raise UsageError(
                f"`output={asked}` given for a network that returns one tensor; leave it out"
            )
        return OutputChoice(asked)
    named = dict(named_outputs(outputs))
    if asked is not None:
        return OutputChoice(_require_logits(asked, named, num_labels))
    fitting = {name: x for name, x in named.items() if _holds_logits(x, num_labels)}
    taken = found_logits(outputs)
    if isinstance(taken, Tensor) and _holds_logits(taken, num_labels):
        others = [name for name, x in fitting.items() if x is not taken]
        own = next(name for name, x in named.items() if x is taken)
        note = (
            f"the network gives several outputs of {num_labels} columns: {own} was taken for the "
            f"logits; `output` chooses another ({', '.join(others[:MAX_NAMES])})"
        )
        return OutputChoice(None, (note,) if others else ())
    if len(fitting) == 1:
        (name,) = fitting
        return OutputChoice(
            name, (f"the logits are the network's output {name}, as its sizes tell",)
        )
    if fitting:
        raise InputError(
            f"a network with several outputs of {num_labels} columns given "
            f"({', '.join(list(fitting)[:MAX_NAMES])}); expected to know which holds the logits; "
            "give its name as `output`"
        )
    return OutputChoice()


def num_outputs(model: nn.Module, inputs: Any, asked: str | None) -> int:
    """Columns of the network's logits, where nobody says how many labels there are.

    Raises:
        InputError: it does not run, or it cannot be known which of its outputs holds them.
    """
    outputs = _outputs_of(model, inputs)
    if outputs is None:
        require_classifier(model, inputs, num_labels=2)  # says why it does not run
    chosen = None if asked is None else dict(named_outputs(outputs)).get(asked)
    return int((logits_of(outputs) if chosen is None or chosen.ndim != 2 else chosen).shape[1])


def hook_output(model: nn.Module, name: str | None) -> None:
    """Make a network, and every copy of it from now on, give that output as its logits."""
    if name is not None:
        change_outputs(model, OutputHook(name))


def without_choice(model: nn.Module) -> nn.Module:
    """The same network, without the hook of `hook_output`; others stay."""
    for key, hook in list(model._forward_hooks.items()):
        if isinstance(hook, OutputHook):
            del model._forward_hooks[key]
    return model


@contextmanager
def output_hooked(model: nn.Module, name: str | None) -> Iterator[None]:
    """`hook_output` for the block; copies that were made in it keep the hook."""
    hook_output(model, name)
    try:
        yield
    finally:
        without_choice(model)


def _outputs_of(model: nn.Module, inputs: Any) -> Any:
    """Outputs of one run; None where it does not come to any."""
    try:
        with evaluating(model):
            return call_on_copies(model, inputs)
    except FORWARD_ERRORS:
        return None


def _require_logits(name: str, named: Mapping[str, Tensor], num_labels: int) -> str:
    """The name itself, if it is that of logits."""
    if name not in named:
        raise UsageError(_unknown(name, named))
    if not _holds_logits(named[name], num_labels):
        raise UsageError(
            f"`output={name}` given, {describe_outputs(named[name])}; expected one row for each "
            f"image and {num_labels} columns; the network returns {_listed(named)}"
        )
    return name


def _unknown(name: str, named: Mapping[str, Tensor]) -> str:
    return f"`output={name}` given; the network returns {_listed(named)}; give one of them"


def _listed(named: Mapping[str, Tensor]) -> str:
    """Names and sizes, as far as a line holds them."""
    shown = [
        f"{name} ({describe_outputs(x).removeprefix('a tensor of ')})" for name, x in named.items()
    ]
    more = [f"{len(shown) - MAX_NAMES} more"] if len(shown) > MAX_NAMES else []
    return ", ".join(shown[:MAX_NAMES] + more) or "no tensor"


def _holds_logits(x: Tensor, num_labels: int) -> bool:
    """Whether a tensor has a column for each label, or one logit for two labels."""
    columns = (1, 2) if num_labels == 2 else (num_labels,)
    return x.ndim == 2 and x.shape[1] in columns and x.is_floating_point()
