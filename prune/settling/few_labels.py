"""The network and its data with some of the labels alone, as the user asked."""

from collections.abc import Sequence
from dataclasses import replace

from ..inputs.few_labels import of_labels
from ..inputs.label_order import listed
from ..inputs.pruned_file import compose
from ..inputs.split import Inputs
from ..structure.tracing.few_outputs import keep_outputs
from .opened import Opened


def keep_labels(opened: Opened, labels: Sequence[str], images: Inputs) -> Opened:
    """The classifier cut to some labels, with their images, numbered in the order of the outputs.

    The network is a copy. What follows knows nothing of the other labels: neither a statistic nor
    an accuracy.

    Args:
        labels: some of the data's, in their order.
        images: a batch, on the device.

    Raises:
        InputError: the outputs cannot go one by one, or images are lacking.
    """
    checkpoint, data = opened.checkpoint, opened.data
    origin = checkpoint.origin
    outputs = tuple(data.labels.index(label) for label in labels)
    few = keep_outputs(checkpoint.model, images, outputs)
    before = origin.labels_kept or range(origin.num_labels)
    kept_of_architecture = tuple(before[output] for output in outputs)
    smaller = replace(
        checkpoint,
        model=few.model,
        origin=replace(origin, labels=tuple(labels), labels_kept=kept_of_architecture),
        kept=compose(checkpoint.kept, few.kept),
    )
    note = (
        f"labels kept: {listed(labels)} of {len(data.labels)}, numbered in the order of the "
        "network's outputs; all accuracies are among them, on their images alone"
    )
    return replace(opened, checkpoint=smaller, data=of_labels(data, labels)).noting(note)
