"""Networks that came through `torch.compile`: the network inside is worked on and delivered.

A compiled network compiles again for every size that it meets, a minute each, and names its layers
after the wrapper.
"""

from torch import nn

from .converted import Converted
from .surgery import copied

INSIDE = "_orig_mod"
"""Where `torch.compile` keeps the network that it was given."""
IN_PLACE = "_compiled_call_impl"
"""Where `Module.compile` keeps the compiled call."""
COMPILED_NOTE = (
    "the network came in compiled; it was worked on, and is delivered, uncompiled: compile the "
    "result again"
)


def uncompiled(model: nn.Module) -> Converted:
    """The network itself if nothing of it is compiled, else the network inside, or a copy of it.

    Raises:
        InputError: a part of it is compiled, and it cannot be copied.
    """
    inside = model
    while INSIDE in inside._modules:
        inside = inside.get_submodule(INSIDE)
    if any(_is_compiled(module) for module in inside.modules()):
        inside = copied(inside)
        for module in inside.modules():
            vars(module).update({IN_PLACE: None})
            _unwrap_children(module)
        return Converted(inside, (COMPILED_NOTE,))
    return Converted(inside, () if inside is model else (COMPILED_NOTE,))


def _is_compiled(module: nn.Module) -> bool:
    return INSIDE in module._modules or vars(module).get(IN_PLACE) is not None


def _unwrap_children(module: nn.Module) -> None:
    """Put the networks inside in the place of compiled children."""
    for name, child in module._modules.items():
        while child is not None and INSIDE in child._modules:
            child = child.get_submodule(INSIDE)
        module._modules[name] = child
