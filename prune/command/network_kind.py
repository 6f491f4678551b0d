"""Whether a network is judged by labels or by its outputs: as the user says, or as one run tells.

A run on black pictures shows the form of the outputs. One row of numbers for each picture is taken
for class scores; maps, pictures and boxes are none. Where several outputs leave it open, the
network is opened as a classifier, which says how to choose.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..chosen_output import named_outputs
from ..errors import InputError
from ..inputs.checkpoint import Checkpoint
from ..inputs.preprocessing import Preprocessing
from ..inputs.recorded import part_names
from ..outputs import describe_outputs, found_logits
from ..settling.size import ALL_SIDES, PROBE_IMAGES, outputs_at
from .checks import judges_outputs, said_of_labels
from .feeding import feeding
from .opening import Loaded
from .trees import Job

FIRST_SIDES = (32, 224)
"""Of the probe: small first, as the form of the outputs does not depend on it."""


def judged_by_outputs(options: Job, loaded: Loaded) -> tuple[bool, tuple[str, ...]]:
    """Whether outputs judge, and what has to be said where the network's own outputs decided.

    Raises:
        InputError: a whole detector, whose boxes cannot be compared.
    """
    if options.judge == "answers":
        return False, ()
    is_sure = judges_outputs(options)
    if options.part or (said_of_labels(options) and not is_sure):
        return options.part is not None, ()
    model = loaded.checkpoint.model
    sizes = list(_sizes(options, loaded.checkpoint))
    found = (outputs_at(model, size, loaded.device) for size in sizes)
    outputs = next((x for x in found if x is not None), None)
    if is_detection(outputs):
        raise InputError(
            f"a {type(model).__name__} given, which finds boxes in every picture: they cannot be "
            "compared, and its code takes other paths when values change; expected a part whose "
            f"outputs are maps; give its name as `part` ({part_names(model)})"
        )
    if is_sure or outputs is None or may_be_class_scores(outputs):
        return is_sure, ()
    note = (
        f"the network gives {describe_outputs(outputs)} for {PROBE_IMAGES} pictures, and no class "
        "scores: its outputs judge (`judge=outputs`)"
    )
    return True, (note,)


def is_detection(outputs: Any) -> bool:
    """Whether outputs are a dictionary of findings for each picture, as detectors give them.

    >>> is_detection([{"boxes": Tensor([0.0])}, {"boxes": Tensor()}])
    True
    """
    is_list = isinstance(outputs, list | tuple) and len(outputs) == PROBE_IMAGES
    return is_list and all(isinstance(x, Mapping) and "boxes" in x for x in outputs)


def may_be_class_scores(outputs: Any) -> bool:
    """Whether one of the outputs has a number, or a row of them, for each picture of the probe.

    >>> maps, rows = Tensor([0.0]).expand(2, 5, 8, 8), Tensor([0.0]).expand(2, 5)
    >>> may_be_class_scores({"out": maps}), may_be_class_scores((maps, rows))
    (False, True)
    """
    rows = [x for _, x in named_outputs(outputs) if _is_row(x)]
    return bool(rows) or _is_row(found_logits(outputs))


def _is_row(x: Any) -> bool:
    is_float = isinstance(x, Tensor) and x.is_floating_point()
    return is_float and 1 <= x.ndim <= 2 and len(x) == PROBE_IMAGES


def _sizes(options: Job, checkpoint: Checkpoint) -> Iterator[tuple[int, int, int]]:
    """Channels, height and width to try."""
    fed = feeding(options.data, checkpoint)
    wanted = Preprocessing.of(fed["input_size"])
    channels = wanted.channels or fed["channels"] or 3
    if wanted.size:
        yield (channels, *wanted.size)
        return
    for side in dict.fromkeys((*FIRST_SIDES, *ALL_SIDES)):
        yield channels, side, side
