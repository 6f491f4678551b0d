"""Whether a network can be traced at all: it shows its layers, and runs on its inputs."""

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError, first_line
from ...forward import call, map_tensors
from ...outputs import explain_types
from ..surgery import copied


def require_visible_layers(model: nn.Module) -> None:
    """Raises InputError where a part of the network hides its layers."""
    hides = isinstance(model, nn.DataParallel)
    hiding = [n for n, x in model.named_modules() if isinstance(x, torch.jit.ScriptModule)]
    if not hides and not hiding:
        return
    inner = "" if hides else hiding[0]
    what = f" whose layer {inner} is a {type(model.get_submodule(inner)).__name__}" if inner else ""
    raise InputError(
        f"a {type(model).__name__} given{what}, which hides its layers; "
        "expected a network that runs them one by one; give the one that it was made from"
    )


def require_running(model: nn.Module, inputs: Any) -> None:
    """Raises InputError where the network fails without being traced too."""
    copied_model, copied_inputs = run_copies(model, inputs)
    try:
        call(copied_model, copied_inputs)
    except Exception as error:
        if other_type := explain_types(model, inputs):
            raise InputError(other_type) from error
        raise InputError(
            f"example inputs given on which {type(model).__name__} does not run "
            f"({first_line(error)}); expected what its forward takes; "
            "give inputs of the size that it was made for"
        ) from error


def run_copies(model: nn.Module, inputs: Any) -> tuple[nn.Module, Any]:
    """What may be run: code that writes into its buffers or inputs does not reach the user's."""
    return copied(model).eval(), map_tensors(Tensor.clone, inputs)
