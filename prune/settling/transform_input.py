"""What weights do not say of GoogLeNet and Inception: whether the network rescales its inputs.

torchvision's pretrained weights come with `transform_input=True`, and so does what was fine-tuned
from them; a network that was trained from scratch has it off. Neither leaves a trace in a state
dict, so both are tried on held-out images.
"""

from dataclasses import replace

from ...evaluate.measure.accuracy import measure_accuracy
from ..inputs import zoo
from .opened import SETTLING_IMAGES, Opened

OPTION = "transform_input"


def settle_transform_input(opened: Opened) -> Opened:
    """The checkpoint with the better of both, and a note where the file did not say it.

    Its network is set to it. Ties leave it off.
    """
    checkpoint, data = opened.checkpoint, opened.data
    model, arch = checkpoint.model, checkpoint.origin.arch
    if checkpoint.knows_inputs or arch is None or not hasattr(model, OPTION):
        return opened
    parsed = zoo.parse_arch(arch)
    if parsed.source != "torchvision" or OPTION in parsed.options:
        return opened
    correct = {}
    for is_on in (False, True):
        model.transform_input = is_on  # type: ignore[assignment]
        limit = min(SETTLING_IMAGES, data.held_out.num_images)
        correct[is_on] = measure_accuracy(
            model, data.held_out, device=opened.device, limit=limit
        ).correct
    best = correct[True] > correct[False]
    model.transform_input = best  # type: ignore[assignment]
    options = {**parsed.options, OPTION: best}
    named = str(replace(parsed, options=options))
    words = {True: "on", False: "off"}
    note = (
        f"the file does not say whether the network rescales its inputs (`arch={named}` does): "
        f"{words[best]}, with {correct[best]} of {limit} held-out images right, "
        f"{correct[not best]} with it {words[not best]}"
    )
    named_origin = replace(checkpoint.origin, arch=named)
    return replace(opened, checkpoint=replace(checkpoint, origin=named_origin)).noting(note)
