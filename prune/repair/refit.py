"""Sequential refit: the weights that stay are solved again, layer by layer, on their new inputs.

Repair knows the inputs of the original network alone. After a thinned layer the inputs are others,
and errors add up with depth. Here each layer in turn is given the inputs X that it has in the
smaller network, all earlier layers being refitted already, and the responses T of the original:

    W' = argmin ||T - X W' - b'||^2 + penalty ||W' - W||^2

with W the weights after repair. Closed form, no gradient, no labels; each layer corrects the errors
of the earlier ones, as far as its inputs allow. The last layer of a residual block also makes up
for what the stream beside it has lost, and where a clamp follows (ReLU, ReLU6, hardtanh), errors
that it swallows do not count (`wanted`): the targets then follow the answers, in PASSES solutions.
A layer whose error on held-out images would be larger than before keeps its weights.

Sources: the asymmetric and nonlinear reconstruction of Zhang, Zou, He and Sun, arXiv 1505.06798, in
the form that He, Zhang and Sun use after removing channels, and their correction of residual
blocks, ICCV 2017, section 3.3.

Shapes: R rows (sampled positions of images), F inputs of one output (channels times kernel taps),
O outputs of one convolution group.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat

import torch
from torch import Tensor, nn

from ..forward import evaluating, first_rows, unfused_attention
from ..inputs.split import Inputs
from ..progress import Progress, silent
from ..structure.cut import Cut
from .activations import ANYTHING, Activation, find_activations
from .layerwise import Layerwise, Rows, apply_changes, constant_of
from .samples import input_rows, output_rows
from .visits import (
    Layer,
    LayerInputs,
    LayerTargets,
    parts,
    refittable,
    targets_of,
    visit,
)
from .wanted import OutputScale, wanted

PASSES = 4
"""Solutions of a layer with a clamp: one for plain targets, three for those that follow the
answers. Each costs two products of rows and weights; the Gram matrix is summed up once. More than
one pays little on ResNet-56 (docs/contest.md), more than four were not tried."""
ROW_BYTES = 256 * 2**20
"""Rows that are held for several passes. A layer that has more is solved once, for plain targets:
VGG-16's widest have 453 MB before they are thinned."""


@dataclass(frozen=True)
class RefitImages:
    """What layers are solved and checked on; all on the networks' device.

    Attributes:
        fitted: batches (N, ...); a few thousand images are enough.
        held_out: other images (N, ...), on which no layer may be further from the original than
            before. None for no check.
        seed: of the sampled positions.
    """

    fitted: Sequence[Inputs]
    held_out: Inputs | None = None
    seed: int = 0

    @property
    def batches(self) -> list[Inputs]:
        """All of them, the held-out ones last."""
        return [*self.fitted, *([] if self.held_out is None else [self.held_out])]


@dataclass(frozen=True)
class RefitNotes:
    """What was done, by layer.

    Attributes:
        error: layer -> relative squared error of its responses on the sampled positions, before
            and after: 0 is the original's response, 1 its mean. Where a clamp follows directly, of
            what that lets through.
        left: layer -> why it was left as it was.
        rows: layer -> (rows that it was solved on, inputs of one output).
        raised: layer -> how many times the penalty had to be raised, 1 for not at all.
    """

    error: Mapping[str, tuple[float, float]]
    left: Mapping[str, str]
    rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    raised: Mapping[str, float] = field(default_factory=dict)


def refit(
    smaller: nn.Module,
    model: nn.Module,
    cut: Cut,
    images: RefitImages,
    *,
    norm_behind: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> tuple[nn.Module, RefitNotes]:
    """A copy of `smaller` whose layers answer its own inputs as the original's answer theirs.

    Args:
        smaller: what `remove` and `repair` made of `model`.
        norm_behind: layer -> batch norm that takes its constant (`norms.find_norm_behind`).
        progress: called with (layers solved, layers to solve).
    """
    fresh = copy.deepcopy(smaller)
    with evaluating(model, fresh), unfused_attention():
        layers, left = refittable(model, fresh, cut.structure, images.fitted)
        names = [layer.name for layer in layers]
        ways = find_activations(model, first_rows(images.fitted[0], 2), names, norm_behind or {})
        work = _Refit(fresh, model, cut, norm_behind or {}, images, ways)
        solved = count(1)

        def solve(
            layer: Layer,
            inputs: LayerInputs,
            stream: LayerInputs | None,
            targets: Mapping[str, LayerTargets],
        ) -> _Refitted:
            found = work.solve(layer, inputs, stream, targets)
            progress(next(solved), len(layers))
            return found

        streams = {name: way.stream for name, way in ways.items() if way.stream is not None}
        done: dict[str, _Refitted] = {}
        for part in parts(layers, fresh):
            batches = images.batches
            targets = targets_of(model, part, batches, cut.kept, images.seed, streams)
            done |= visit(fresh, part, batches, partial(solve, targets=targets), streams)
    errors = {name: (layer.before, layer.after) for name, layer in done.items()}
    worse = {name: layer.worse for name, layer in done.items() if layer.worse}
    rows = {name: layer.rows for name, layer in done.items()}
    raised = {name: layer.raised for name, layer in done.items()}
    return fresh, RefitNotes(errors, {**left, **worse}, rows, raised)


@dataclass(frozen=True)
class _Refitted:
    """One layer: relative squared error before and after; the rest as in `RefitNotes`.

    `worse` is why it was left, empty if it was not.
    """

    before: float
    after: float
    worse: str
    rows: tuple[int, int]
    raised: float


@dataclass(frozen=True)
class _Refit:
    """One refit under way: `fresh` is the copy whose layers are solved."""

    fresh: nn.Module
    model: nn.Module
    cut: Cut
    norm_behind: Mapping[str, str]
    images: RefitImages
    ways: Mapping[str, Activation]

    def solve(
        self,
        layer: Layer,
        inputs: LayerInputs,
        stream: LayerInputs | None,
        targets: Mapping[str, LayerTargets],
    ) -> _Refitted:
        """Refit one layer in place, unless held-out images are against it."""
        reader, norm = self.cut.structure.readers[layer.name], self.norm_behind.get(layer.name)
        constant = constant_of(self.fresh, self.model, reader, norm, self.cut.kept)
        answers, num_fitted = targets[layer.name].answers, len(self.images.fitted)
        problem = Layerwise.of(self.fresh.get_submodule(layer.name), constant)
        rows: Iterable[Rows] = self._rows(layer, problem, inputs, stream, targets[layer.name])
        way = self.ways.get(layer.name, Activation())
        if way.clamps and problem.row_bytes(answers[:num_fitted]) <= ROW_BYTES:
            rows, passes = list(rows), PASSES
        else:
            rows, passes = ((n, x, want.plain) for n, x, want in rows), 1
        solved = problem.solve(rows, num_fitted, passes)
        variance = _variance(answers[:num_fitted])
        worse = solved.worse(_variance(answers[num_fitted:])) if len(answers) > num_fitted else ""
        before = solved.fitted[0] / variance
        if worse:
            return _Refitted(before, before, worse, problem.rows, solved.raised)
        apply_changes(problem.module, solved.changes, constant)
        return _Refitted(before, solved.fitted[1] / variance, "", problem.rows, solved.raised)

    def _rows(
        self,
        layer: Layer,
        problem: "Layerwise",
        inputs: LayerInputs,
        stream: LayerInputs | None,
        targets: LayerTargets,
    ) -> Iterator[Rows]:
        """Rows of all batches, the held-out ones last, a part of a batch at a time."""
        module, way = problem.module, self.ways.get(layer.name)
        like_O, bounds = targets.answers[0][0], ANYTHING if way is None else way.bounds
        scale = None if way is None else OutputScale.of(self.model, way, self.cut.kept, like_O)
        beside: Iterable[Tensor | None] = repeat(None) if stream is None else stream
        each = zip(inputs, beside, targets.positions, strict=False)
        for batch, (x, s, positions_S) in enumerate(each):
            streams = None
            if s is not None and targets.streams:
                streams = targets.streams[batch], output_rows(module, s, positions_S)
            want = wanted(scale, bounds, targets.answers[batch], streams)
            parts = input_rows(module, x, positions_S)
            start = 0
            for x_RF in parts:
                yield batch, x_RF, want.part(start, start + len(x_RF))
                start += len(x_RF)


def _variance(targets: Sequence[Tensor]) -> float:
    """Sum of the squares of the targets around their means; never 0."""
    count = sum(len(rows_RO) for rows_RO in targets)
    mean_O = (
        torch.stack([rows_RO.sum(0, dtype=torch.float64) for rows_RO in targets]).sum(0) / count
    )
    around = sum(float((rows_RO - mean_O).square().sum()) for rows_RO in targets)
    return max(around, torch.finfo(torch.float32).tiny)
