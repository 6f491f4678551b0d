"""What weights do not say of GoogLeNet and Inception: whether the network rescales its inputs.

torchvision's pretrained weights come with `transform_input=True`, and so does what was fine-tuned
from them; a network that was trained from scratch has it off. Neither leaves a trace in a state
dict, so both are tried on training images.
"""

from dataclasses import replace

import torch

from ...evaluate.measure.accuracy import measure_accuracy
from ..inputs import zoo
from ..inputs.checkpoint import Checkpoint
from ..inputs.split import DataSet

OPTION = "transform_input"
TRIED_IMAGES = 500
"""Training images that both are tried on: a network with the wrong one loses tens of points."""


def settle_transform_input(
    checkpoint: Checkpoint, data: DataSet, device: torch.device
) -> Checkpoint:
    """The checkpoint with the better of both, and a note where the file did not say it.

    The network of the checkpoint, on `device`, is set to it. Ties leave it off.
    """
    model, arch = checkpoint.model, checkpoint.origin.arch
    if checkpoint.knows_inputs or arch is None or not hasattr(model, OPTION):
        return checkpoint
    parsed = zoo.parse_arch(arch)
    if parsed.source != "torchvision" or OPTION in parsed.options:
        return checkpoint
    correct = {}
    for is_on in (False, True):
        model.transform_input = is_on  # type: ignore[assignment]
        limit = min(TRIED_IMAGES, data.train.num_images)
        correct[is_on] = measure_accuracy(model, data.train, device=device, limit=limit).correct
    best = correct[True] > correct[False]
    model.transform_input = best  # type: ignore[assignment]
    options = {**parsed.options, OPTION: best}
    named = str(replace(parsed, options=options))
    words = {True: "on", False: "off"}
    note = (
        f"the file does not say whether the network rescales its inputs (`arch={named}` does): "
        f"{words[best]}, with {correct[best]} of {limit} training images right, "
        f"{correct[not best]} with it {words[not best]}"
    )
    return replace(
        checkpoint,
        origin=replace(checkpoint.origin, arch=named),
        notes=(*checkpoint.notes, note),
    )
