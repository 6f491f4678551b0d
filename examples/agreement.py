"""How far the one-pass probe agrees with the published one, and the published one with itself.

    python examples/agreement.py --model vgg16_cifar10.pt --arch vgg16 --data cifar10/ \\
        --epochs 40 --images 3000 --test-images 2000

One line a layer and comparison: success rates, Spearman correlation of the filters' scores
(signal, SNR, sharpness), overlap of their labels (Jaccard) and share with the same clusters. The
published probe (arXiv 2305.18078) is trained on maps that are computed once, without
augmentation; a second training from other first weights shows what it can agree with at best.
Ridge probes are solved at several penalties, in units of the mean variance of a feature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import tyro
from prune_dl.prune.console import stage
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.mechanism.agreement import compare_spectra
from prune_dl.prune.mechanism.held_out import HeldOut, evaluate_probes
from prune_dl.prune.mechanism.paper import Sgd, cached, measure_by_sgd
from prune_dl.prune.mechanism.probe import solve
from prune_dl.prune.mechanism.spectrum import Means, Spectrum, spectrum_of
from prune_dl.prune.mechanism.statistics import Statistics, collect
from prune_dl.prune.structure.trace import trace

CPU = torch.device("cpu")
SPLIT = 100
"""Images in a batch, as published."""


@dataclass(frozen=True)
class Options:
    """What is compared, and on how much data."""

    model: str
    """A trained checkpoint."""
    data: str
    """Image folder, digits or cifar10."""
    arch: str | None = None
    """Architecture, where the file does not say."""
    epochs: int = 200
    """Of the published procedure (200); fewer compress its schedule."""
    images: int = 10000
    """Training images of either probe."""
    test_images: int = 10000
    """Images that the figures are measured on."""
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    """Of the ridge probes."""


def main(options: Options) -> None:
    """Print one table for each comparison."""
    data = open_data(options.data)
    model = load_checkpoint(options.model, arch=options.arch).model
    num_labels = len(data.labels)
    train = list(data.train.batches(SPLIT, device=CPU, shuffle_seed=0, limit=options.images))
    test = list(data.test.batches(128, device=CPU, shuffle_seed=0, limit=options.test_images))
    structure = trace(model, train[0][0][:2])
    source = cached(model, structure.readers, train, num_labels, device=CPU)

    def published(seed: int) -> Spectrum:
        with stage(f"published procedure, seed {seed}") as progress:
            return measure_by_sgd(
                model,
                structure,
                source,
                test,
                num_labels,
                device=CPU,
                sgd=Sgd.of(options.epochs),
                seed=seed,
                progress=progress,
            )

    slow = published(0)
    show("published, another seed", published(1), slow)
    statistics = collect(model, structure.readers, train, num_labels, device=CPU)
    for penalty in options.penalties:
        probes = {name: solve(layer, penalty) for name, layer in statistics.layers.items()}
        sums = evaluate_probes(model, structure.readers, probes, test, num_labels, device=CPU)
        spectrum = spectrum_of(structure, probes, sums, means_of(sums, statistics))
        show(f"ridge, penalty {penalty}", spectrum, slow)


def means_of(sums: Mapping[str, HeldOut], statistics: Statistics) -> Means:
    """Label means of a layer's features."""
    return lambda name: sums[name].means_KD(statistics.layers[name])


def show(title: str, spectrum: Spectrum, slow: Spectrum) -> None:
    """Print one comparison with the published procedure."""
    print(f"\n{title}\n\n| layer | SR | SR published | signal | SNR | sharpness | labels | same |")
    print("|---" * 8 + "|")
    for line in compare_spectra(spectrum, slow):
        scores = (line.signal, line.snr, line.sharpness, line.labels, line.same_clusters)
        rates = " | ".join(f"{rate:.3f}" for rate in line.rates)
        print(f"| {line.name} | {rates} | " + " | ".join(f"{x:.2f}" for x in scores) + " |")


if __name__ == "__main__":
    main(tyro.cli(Options))
