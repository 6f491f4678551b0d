"""The pass over held-out images: how often each probe is right, and the label means of features.

Shapes: K labels, D pooled features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..average_precision import average_precision, mean_over_labels
from ..inputs.split import Batches
from ..progress import Progress, silent
from .network import TracedNetwork
from .observe import observe
from .probe import Probe
from .taps import as_map, pool, repeat_labels


@dataclass
class HeldOut:
    """Running sums of one reader over the held-out images.

    | attribute | shape  | meaning                                 |
    |-----------|--------|-----------------------------------------|
    | counts_K  | (K,)   | samples per label, float64              |
    | correct_K | (K,)   | of these, right for the probe, float64  |
    | sums_KD   | (K, D) | pooled features summed up, float32      |

    With several labels for an image it counts in the row of each of them; `answers` then holds what
    the probe says, (N, K), and the labels, (N, K), batch by batch, and `correct_K` stays zero.
    """

    counts_K: Tensor
    correct_K: Tensor
    sums_KD: Tensor
    answers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def success_rate(self) -> float:
        """Share of samples that the probe gets right (SR).

        With several labels for an image it is the probe's mean average precision, as the network's.
        """
        if self.answers:
            said, there = (torch.cat(x).double().numpy() for x in zip(*self.answers, strict=True))
            return float(mean_over_labels(average_precision(said, there)))
        return float(self.correct_K.sum() / self.counts_K.sum())

    def on_cpu(self) -> "HeldOut":
        """The same sums on the CPU."""
        return HeldOut(self.counts_K.cpu(), self.correct_K.cpu(), self.sums_KD.cpu(), self.answers)

    def add(self, features_ND: Tensor, labels_N: Tensor, probe: Probe) -> None:
        """Take in pooled features and their labels."""
        if labels_N.ndim == 2:
            self._add_rows(features_ND, labels_N, probe)
            return
        right_N = probe.predict(features_ND) == labels_N
        labels_N, home = labels_N.to(self.sums_KD.device), self.sums_KD.device
        right_N = right_N.to(home, self.correct_K.dtype)
        # Not bincount: a GPU would wait for the host, which must know how long its result is.
        self.counts_K.index_add_(0, labels_N, torch.ones_like(right_N))
        self.correct_K.index_add_(0, labels_N, right_N)
        self.sums_KD.index_add_(0, labels_N, features_ND.to(home))

    def _add_rows(self, features_ND: Tensor, labels_NK: Tensor, probe: Probe) -> None:
        home = self.sums_KD.device
        self.answers.append((probe.outputs(features_ND).float().cpu(), labels_NK.cpu()))
        self.counts_K += labels_NK.to(home).sum(0)
        self.sums_KD += labels_NK.to(home, torch.float32).T @ features_ND.to(home)

    def means_KD(self, training_KD: Tensor | None = None) -> Tensor:
        """Mean features of each label, (K, D) float32.

        Labels that no held-out sample has (named by `Spectrum.labels_without_held_out`) take the
        means over training samples (K, D) where these are given, else zero.
        """
        here_KD = self.sums_KD / self.counts_K.float().clamp(min=1)[:, None]
        if training_KD is None:
            return here_KD
        return torch.where(self.counts_K[:, None] > 0, here_KD, training_KD.float())


def evaluate_probes(
    network: TracedNetwork,
    probes: Mapping[str, Probe],
    batches: Batches,
    *,
    progress: Progress = silent,
) -> dict[str, HeldOut]:
    """Run the batches once and see how every probe does; by reader.

    Args:
        probes: by reader; a reader without one is left out.

    Raises:
        InputError: as `statistics.collect`.
    """
    probes = {name: probe.to(network.device) for name, probe in probes.items()}
    held_out = {name: _empty(probe, network.sums_device) for name, probe in probes.items()}

    def on_input(name: str, x: Tensor, labels_N: Tensor) -> None:
        features_ND = pool(as_map(x, network.readers[name]), probes[name].grid)
        held_out[name].add(features_ND, repeat_labels(labels_N, features_ND), probes[name])

    observe(network, held_out, batches, on_input, progress=progress)
    return {name: sums.on_cpu() for name, sums in held_out.items()}


def _empty(probe: Probe, home: torch.device) -> HeldOut:
    counts_K = torch.zeros(len(probe.weights_KD), dtype=torch.float64, device=home)
    return HeldOut(counts_K, counts_K.clone(), torch.zeros_like(probe.weights_KD, device=home))
