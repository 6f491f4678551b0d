"""One way of feeding a network, tried on held-out images: right or wrong, and how surely.

Shapes: N images, K labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..forward import call
from ..inputs.arrays import normalise
from ..inputs.datasets import READY
from ..inputs.seeded import generator
from ..inputs.split import DataSet
from ..outputs import class_scores
from .drift import first_norm, observed
from .opened import SETTLING_IMAGES

SCREENING_IMAGES = 100
"""Held-out images that all trials are run on first: what loses ten points or more shows on them,
and a large network on a CPU takes half a minute for each trial of 500."""
FINALISTS = 4
"""Trials at most that are then run on all images."""
SAMPLE_BYTES = 2**29
"""Most bytes of pixels held at once: fewer images of very large ones."""
TRIAL_BATCH = 100
"""Images at once; it changes no answer but by rounding."""
NEAR_TIE = 0.05
"""Level of the paired test above which two trials count as equally accurate: the usual one."""
SCREENED_OUT = 0.01
"""Level at which a trial is dropped after the first images: stricter, since it is not looked at
again."""
SURELY = 2.58
"""Standard errors that a difference of losses needs: 1 % of chance differences are larger."""
CLEAR_DRIFT = 4.0
"""Times that one drift must be another to count as surely larger: augmentation moves the mean and
variance that a network remembers, and so drifts of a few per cent of each other mean nothing."""
SAME_FUNCTION = 1e-3
"""Two trials whose losses differ by less on every image feed the network the same."""
TEMPERATURES = tuple(2.0 ** (step / 2) for step in range(-6, 9))
"""That logits are divided by before the loss is taken, 1/8 to 16: the best one is, so that a scale
is not preferred for making the network less sure of itself (arXiv 1706.04599)."""
LARGEST_LOGIT = 1e4
"""What infinite logits count as."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Held-out images for trials.

    Attributes:
        images: (N, C, H, W) uint8 pixels, or float32 as the data set gives them.
        labels_N: int64.
    """

    images: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True)
class InputTrial:
    """One way of feeding a network.

    Attributes:
        name: for messages: "ImageNet's".
        mean, std: that pixels are normalised with; of images that are ready, not used.
        transform_input: how the network's switch of that name is set; None where it has none.
        sample: which of several samples it is run on (sizes).
        is_reversed: whether the channels are turned round first.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    transform_input: bool | None = None
    sample: int = 0
    is_reversed: bool = False


@dataclass(frozen=True, eq=False)
class TrialAnswers:
    """What a network made of images: whether right, and the loss at the best temperature.

    Attributes:
        is_right_N: bool. loss_N: float64, cross-entropy.
        drift: of the first batch normalisation's inputs from those of the training, nats; None
            where the network has none.
    """

    is_right_N: Tensor
    loss_N: Tensor
    drift: float | None = None

    @property
    def correct(self) -> int:
        """Images that are right."""
        return int(self.is_right_N.sum())

    @property
    def percent(self) -> str:
        """Share of the images that are right, in words."""
        return f"{100 * self.correct / len(self.is_right_N):.1f} %"

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return float(self.loss_N.mean())


Found = tuple[InputTrial, TrialAnswers]
Ask = Callable[[InputTrial, Tensor], TrialAnswers]
"""(trial, positions in its sample) -> answers."""


def take_sample(data: DataSet, limit: int | None = None) -> Sample:
    """Some held-out images, as pixels where the data set has them; the same ones every time."""
    is_pixels = data.is_scalable and data.sources.scale != READY
    plain = data.scaled((0.0,) * len(data.mean), (1.0,) * len(data.std)) if is_pixels else data
    channels, height, width = data.input_size
    bound = max(1, SAMPLE_BYTES // (channels * height * width))
    limit = min(limit or SETTLING_IMAGES, bound, data.held_out.num_images)
    batches = list(plain.held_out.batches(TRIAL_BATCH, device="cpu", limit=limit))
    images = [(x * 255).round().to(torch.uint8) if is_pixels else x for x, _ in batches]
    return Sample(torch.cat(images), torch.cat([y for _, y in batches]))


def asking(model: nn.Module, samples: Sequence[Sample], device: torch.device) -> Ask:
    """What runs a trial on a network; its switch stays as the last trial set it."""

    norm = first_norm(model)

    def ask(trial: InputTrial, positions: Tensor) -> TrialAnswers:
        if trial.transform_input is not None:
            model.transform_input = trial.transform_input  # type: ignore[assignment]
        sample = samples[trial.sample]
        with observed(model, norm) as moments:
            rows = [
                class_scores(call(model, batch)).cpu().double()
                for batch in fed_batches(sample.images[positions], trial, device)
            ]
        answers = judge(torch.cat(rows), sample.labels_N[positions])
        if norm is None:
            return answers
        return replace(answers, drift=moments.drift_from(model.get_submodule(norm)))

    return ask


def fed_batches(images: Tensor, trial: InputTrial, device: torch.device) -> Iterator[Tensor]:
    """Images of a sample as a trial feeds them to the network, on the device."""
    for batch in torch.split(images, TRIAL_BATCH):
        sent = batch.to(device)
        sent = sent.flip(1) if trial.is_reversed else sent
        yield normalise(sent, trial.mean, trial.std) if sent.dtype == torch.uint8 else sent


def judge(logits_NK: Tensor, labels_N: Tensor) -> TrialAnswers:
    """TrialAnswers from logits; one column is the second of two labels against the first."""
    finite = torch.nan_to_num(logits_NK, nan=0.0, posinf=LARGEST_LOGIT, neginf=-LARGEST_LOGIT)
    losses = [
        functional.cross_entropy(finite / temperature, labels_N, reduction="none")
        for temperature in TEMPERATURES
    ]
    best = min(losses, key=lambda loss_N: float(loss_N.mean()))
    return TrialAnswers(finite.argmax(1) == labels_N, best)


def run_trials(trials: Sequence[InputTrial], ask: Ask, num_images: int) -> list[Found]:
    """The best trials, best first, on all images; the others only on the first of them.

    All run on a random part; what is surely less accurate there is dropped, and at most
    `FINALISTS` run on all images. See `ranked` for the rule.
    """
    everything = torch.arange(num_images)
    if num_images > SCREENING_IMAGES:
        some = torch.randperm(num_images, generator=generator(0))[:SCREENING_IMAGES]
        order = ranked([(trial, ask(trial, some)) for trial in trials])
        top = max(order, key=lambda found: found[1].correct)[1]
        left = [found for found in order if not _is_worse(found[1], top, SCREENED_OUT)]
        left = left if len(left) > 1 else order[:2]
        chosen = {id(trial) for trial in _finalists([trial for trial, _ in left])}
        trials = [trial for trial in trials if id(trial) in chosen]
    return ranked([(trial, ask(trial, everything)) for trial in trials])


def _finalists(trials: Sequence[InputTrial]) -> list[InputTrial]:
    """The best of each sample, so that none is dropped that was not seen to be worse; then the next
    best, `FINALISTS` in all or one for each sample."""
    first = {trial.sample: trial for trial in reversed(trials)}
    best = [trial for trial in trials if trial is first[trial.sample]]
    others = [trial for trial in trials if trial is not first[trial.sample]]
    return [*best, *others][: max(FINALISTS, len(best))]


def ranked(found: Sequence[Found]) -> list[Found]:
    """Trials, best first: the most accurate, and among those that a paired test does not tell from
    it the one with the least cross-entropy; among those that this does not tell from it either, the
    one with the least drift (see `drift`), where the network shows it.

    Cross-entropy tells scales apart that differ by a few images; alone it would trust a network
    that is sure and wrong. Drift tells them apart where the network has learned the images by
    heart. Ties keep the order given.
    """
    top = max(found, key=lambda one: one[1].correct)[1]
    near = [one for one in found if not _is_worse(one[1], top, NEAR_TIE)]
    far = [one for one in found if _is_worse(one[1], top, NEAR_TIE)]
    near.sort(key=lambda one: round(one[1].loss, 4))
    least = near[0][1]
    tied = [one for one in near if not _loses_less(least, one[1])]
    if all(answers.drift is not None for _, answers in tied):
        rest = [one for one in near if _loses_less(least, one[1])]
        near = sorted(tied, key=lambda one: round(one[1].drift or 0.0, 4)) + rest
    far.sort(key=lambda one: -one[1].correct)
    return near + far


def _is_worse(answers: TrialAnswers, top: TrialAnswers, level: float) -> bool:
    return answers.correct < top.correct and paired_test(answers, top) < level


def paired_test(one: TrialAnswers, other: TrialAnswers) -> float:
    """Probability that two trials differ by chance in so many images: McNemar's exact test.

    Source: McNemar, Psychometrika 12, 153 (1947).
    """
    from scipy.stats import binomtest

    only_one = int((one.is_right_N & ~other.is_right_N).sum())
    only_other = int((other.is_right_N & ~one.is_right_N).sum())
    if not only_one + only_other:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def feeds_the_same(one: TrialAnswers, other: TrialAnswers) -> bool:
    """Whether two trials are one: a network that rescales its inputs makes two scales equal."""
    return float((one.loss_N - other.loss_N).abs().max()) < SAME_FUNCTION


def is_clear(best: TrialAnswers, other: TrialAnswers) -> bool:
    """Whether one trial is surely better: in images that are right, or else in its drift, or where
    there is none, in its losses.
    """
    if best.correct > other.correct and paired_test(best, other) < NEAR_TIE:
        return True
    if best.drift is not None and other.drift is not None:
        return best.drift * CLEAR_DRIFT < other.drift
    return _loses_less(best, other)


def _loses_less(best: TrialAnswers, other: TrialAnswers) -> bool:
    """Whether a paired test of the losses finds one surely better."""
    gain_N = other.loss_N - best.loss_N
    error = float(gain_N.std()) / len(gain_N) ** 0.5 if len(gain_N) > 1 else float("inf")
    return float(gain_N.mean()) > SURELY * error


def runner_up(
    found: Sequence[Found], other: Callable[[InputTrial], bool] | None = None
) -> Found | None:
    """The next best trial that feeds the network something else, of those that `other` names."""
    best = found[0][1]
    rest = (one for one in found[1:] if other is None or other(one[0]))
    return next((one for one in rest if not feeds_the_same(best, one[1])), None)
