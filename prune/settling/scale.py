"""Mean and std of the inputs, where nobody says them: measured on held-out images.

Wrong ones cost a few points of accuracy or all of it, and the plan, the statistics and the ONNX
file inherit them. Whether GoogLeNet rescales its inputs changes what a scale does, so that both are
tried together.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..inputs.split import Source
from ..options import DataOptions
from .opened import Opened
from .scales import Scale, usual_scales
from .transform_input import open_states, with_state
from .trials import Found, InputTrial, asking, is_clear, run_trials, runner_up, take_sample


def settle_scale(opened: Opened, asked: DataOptions) -> Opened:
    """The data with the scale that fits the network best, and what was measured as its source.

    A note where two scales cannot be told apart. Where the scale is known, only the network's
    switch is settled; where both are, nothing is run.
    """
    trials = scale_trials(opened, asked)
    if len(trials) == 1:
        return opened
    sample = take_sample(opened.data)
    ask = asking(opened.checkpoint.model, [sample], opened.device)
    found = run_trials(trials, ask, len(sample))
    best, answers = found[0]
    if best.transform_input is not None:
        others = [a.correct for t, a in found if t.transform_input != best.transform_input]
        if not others:  # dropped on the first images
            rest = [t for t in trials if t.transform_input != best.transform_input]
            same = next(t for t in rest if (t.mean, t.std) == (best.mean, best.std))
            others = [run_trials([same], ask, len(sample))[0][1].correct]
        told = (best.transform_input, answers.correct, max(others), len(sample))
        opened = with_state(opened, *told)
    return _with_scale(opened, found, len(sample)) if is_open(opened) else opened


def is_open(opened: Opened) -> bool:
    """Whether the scale is a guess that can be measured."""
    data = opened.data
    return not opened.checkpoint.knows_inputs and data.sources.scale.is_guess and data.is_scalable


def scale_trials(opened: Opened, asked: DataOptions, sample: int = 0) -> list[InputTrial]:
    """Every scale in every state of the network's switch; one trial where nothing is open."""
    data = opened.data
    scales = [Scale("the data's", data.mean, data.std)]
    if is_open(opened):
        scales = usual_scales(opened.checkpoint, data, asked)
    return [
        InputTrial(scale.name, scale.mean, scale.std, state, sample)
        for state in open_states(opened.checkpoint)
        for scale in scales
    ]


def _with_scale(opened: Opened, found: Sequence[Found], total: int) -> Opened:
    best, answers = found[0]
    words = f"{best.name}, measured: {answers.percent} of {total} held-out images"
    other = runner_up(found, lambda trial: (trial.mean, trial.std) != (best.mean, best.std))
    if other is not None:
        words += f", next best {other[0].name} {other[1].percent}"
    data = opened.data.scaled(best.mean, best.std).sourced(scale=Source(words))
    opened = replace(opened, data=data)
    if other is None or is_clear(answers, other[1]):
        return opened
    return opened.noting(
        f"nobody says which mean and std the network was trained with, and {total} held-out images "
        f"do not tell surely: {best.name} ({answers.percent} right) are taken, but {other[0].name} "
        f"({other[1].percent}) may be the right ones; give `mean` and `std` if you know them"
    )
