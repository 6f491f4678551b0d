"""How far the one-pass probes agree with the published one, and the published one with itself.

    python examples/agreement.py --model vgg16_cifar10.pt --arch vgg16 --data cifar10/ \\
        --epochs 40 --images 3000 --test-images 2000

One line a layer and comparison: success rates, Spearman correlation of the filters' scores
(signal, SNR, sharpness), overlap of their labels (Jaccard) and share with the same clusters. The
published probe (arXiv 2305.18078) is trained on maps that are computed once, without
augmentation; a second training from other first weights shows what it can agree with at best.
The softmax probe learns from the sample of one pass, in a number of epochs of its own. Ridge
probes are solved at several penalties, in units of the mean variance of a feature.
"""

from dataclasses import dataclass

import torch
import tyro
from compare_spectra import compare_spectra
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.mechanism.held_out import evaluate_probes
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Sgd, cached, measure_by_sgd
from prune_dl.prune.mechanism.probe import solve
from prune_dl.prune.mechanism.softmax import SOFTMAX_EPOCHS, spectrum_by_softmax
from prune_dl.prune.mechanism.spectrum import Spectrum, spectrum_of
from prune_dl.prune.mechanism.statistics import Statistics, collect
from prune_dl.prune.progress import show_bar
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor

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
    softmax_epochs: int = SOFTMAX_EPOCHS
    """Of the softmax probe."""
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    """Of the ridge probes."""


def main(options: Options) -> None:
    """Print one table for each comparison."""
    data = open_data(Trusted(options.data))
    model = load_checkpoint(options.model, arch=options.arch).model
    train = list(data.train.batches(SPLIT, device=CPU, shuffle_seed=0, limit=options.images))
    test = list(data.test.batches(128, device=CPU, shuffle_seed=0, limit=options.test_images))
    structure = trace(model, train[0][0][:2])
    network = TracedNetwork(model, structure, len(data.labels), CPU)
    source = cached(network, train)

    def published(seed: int) -> Spectrum:
        with show_bar(f"published procedure, seed {seed}") as progress:
            sgd = Sgd.of(options.epochs, seed)
            return measure_by_sgd(network, source, test, sgd=sgd, progress=progress)

    slow = published(0)
    show("published, another seed", published(1), slow)
    with show_bar("one pass") as progress:
        statistics = collect(network, train, sampled=True, progress=progress)
    with show_bar("softmax probes") as progress:
        sgd = Sgd.of(options.softmax_epochs)
        fast = spectrum_by_softmax(network, statistics, test, sgd=sgd, progress=progress)
    show(fast.probe, fast, slow)
    for penalty in options.penalties:
        show(f"ridge, penalty {penalty}", ridge(network, statistics, test, penalty), slow)


def ridge(
    network: TracedNetwork,
    statistics: Statistics,
    test: list[tuple[Tensor, Tensor]],
    penalty: float,
) -> Spectrum:
    """The spectrum by ridge probes at a penalty."""
    probes = {name: solve(layer, penalty) for name, layer in statistics.layers.items()}
    sums = evaluate_probes(network, probes, test)

    def means(name: str) -> Tensor:
        return sums[name].means_KD(statistics.layers[name].means_KD)

    return spectrum_of(network.structure, probes, sums, means, title=f"ridge, penalty {penalty}")


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
