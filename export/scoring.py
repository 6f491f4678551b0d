"""How good an ONNX file itself is as a classifier.

Not in `session.py`: a process whose memory is measured opens sessions without torch.

Shapes: N images, K labels.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..prune.outputs import class_scores
from ..prune.scores import Score, Tally
from .session import Session, run_session


def score_file(
    session: Session,
    batches: Iterable[tuple[NDArray[Any], NDArray[np.int64]]],
    *,
    threshold: float = 0.0,
    of_answers: bool = False,
) -> Score:
    """How good a classifier is on (images, labels) batches, one or more.

    Args:
        threshold: outputs above it say that a label is there, where there may be several.
        of_answers: whether labels are the answers of the network that came in.
    """
    tally = Tally(threshold, of_answers=of_answers)
    for images, labels_N in batches:
        scores_NK = class_scores(torch.from_numpy(run_session(session, images)))
        tally.add(scores_NK, torch.from_numpy(labels_N))
    return tally.score()
