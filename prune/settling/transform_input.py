"""What weights do not say of GoogLeNet and Inception: whether the network rescales its inputs.

torchvision's pretrained weights come with `transform_input=True`, and so does what was fine-tuned
from them; a network that was trained from scratch has it off. Neither leaves a trace in a state
dict, so both are tried on held-out images, together with the scale, which it changes.
"""

from dataclasses import replace

from ..inputs import zoo
from ..inputs.checkpoint import Checkpoint
from .opened import Opened

OPTION = "transform_input"


def open_states(checkpoint: Checkpoint) -> tuple[bool | None, ...]:
    """States to try, off first; None alone where the network has no such switch, or it is known."""
    model, arch = checkpoint.model, checkpoint.origin.arch
    if checkpoint.knows_inputs or arch is None or not hasattr(model, OPTION):
        return (None,)
    parsed = zoo.parse_arch(arch)
    return (None,) if parsed.source != "torchvision" or OPTION in parsed.options else (False, True)


def with_state(opened: Opened, state: bool, correct: int, other: int, total: int) -> Opened:
    """The network set to a state, which its name then has too, and a note.

    Args:
        correct, other: images that are right in this state, and in the other one. total: of them.
    """
    opened = in_state(opened, state)
    named = opened.checkpoint.origin.arch
    words = {True: "on", False: "off"}
    note = (
        f"the file does not say whether the network rescales its inputs (`arch={named}` does): "
        f"{words[state]}, with {correct} of {total} held-out images right, "
        f"{other} with it {words[not state]}"
    )
    return opened.noting(note)


def in_state(opened: Opened, state: bool) -> Opened:
    """The network set to a state, which its name then has too."""
    checkpoint = opened.checkpoint
    checkpoint.model.transform_input = state  # type: ignore[assignment]
    parsed = zoo.parse_arch(str(checkpoint.origin.arch))
    named = str(replace(parsed, options={**parsed.options, OPTION: state}))
    origin = replace(checkpoint.origin, arch=named)
    return replace(opened, checkpoint=replace(checkpoint, origin=origin))
