"""Check the published mechanism (arXiv 2305.18078) on a network of your own, with controls.

    python examples/reproduce_paper.py examples/vgg6.toml
    python examples/reproduce_paper.py examples/vgg16.toml --model vgg16_cifar10.pt --data cifar10/
    python examples/reproduce_paper.py examples/vgg6.toml --probe both --images 5000

Prints the paper's table (success rate, clusters, noise, SNR of every layer) and says which claims
of the abstract hold; then the same for an untrained network and for shuffled labels, where they
must fail. The probes are trained as published, on a sample kept from one pass (softmax); with
`--probe both` these and the published procedure are compared. Without `--model` the network is
trained first and kept in `--keep`.

Nothing is chosen on the images that the figures are measured on, so these are the test part.
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from compare_spectra import Agreement, compare_spectra
from paper_claims import Claim, Row, check, rows_of, table
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.data import DataSet, open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.split import Split
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Sgd, cached, frozen, measure_by_sgd
from prune_dl.prune.mechanism.softmax import SOFTMAX_EPOCHS, spectrum_by_softmax
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import collect
from prune_dl.prune.progress import show_bar
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.training.device import pick_device
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.train import Journal, TrainingData, train_network
from torch import Tensor, nn

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Reproduction:
    """What to check, and on how much data."""

    arch: str
    """Zoo name with options, for example avgg16:early_pools=2,width=0.25."""
    data: str = "cifar10"
    """Image folder, or cifar10."""
    input_size: int | None = None
    """Height and width of the images; default: those of the data."""
    model: Path | None = None
    """A trained checkpoint; without one the network is trained."""
    keep: Path | None = None
    """Where a network that was trained here is saved."""
    epochs: int = 60
    """Of that training."""
    max_batches: int | None = None
    """Of that training: stop early, for a quick look."""
    images: int = 20000
    """Training images that the probes see."""
    test_images: int = 10000
    """Test images that the figures are measured on."""
    probe: Literal["softmax", "ridge", "sgd", "both"] = "softmax"
    """In one pass (softmax: the published training on a sample; ridge: closed form), as published
    (sgd), or both: softmax and sgd with their agreement."""
    probe_epochs: int | None = None
    """Of softmax (default 40) and sgd (default 200, as published); fewer compress the schedule."""
    cache: bool = False
    """Published procedure: compute the maps once, without augmentation, and keep them."""
    controls: bool = True
    """Also measure an untrained network and shuffled labels."""
    device: str = "auto"
    seed: int = 0
    out: Path | None = None
    """JSON file for all figures."""


def main() -> None:
    """Read the TOML and the flags, measure, print."""
    if len(sys.argv) < 2 or not sys.argv[1].endswith(".toml"):
        sys.exit("the first argument must be a TOML file, for example examples/vgg6.toml")
    settings = tomllib.loads(Path(sys.argv[1]).read_text())
    reproduction = tyro.cli(Reproduction, default=Reproduction(**settings), args=sys.argv[2:])
    reproduce(reproduction)


def reproduce(what: Reproduction) -> None:
    """Measure every arm, print its table, and add it to the file of `--out`."""
    device = pick_device(what.device)
    data = open_data(Trusted(what.data), input_size=what.input_size)
    model = trained(what, data, device)
    arms = {"trained": (model, False)}
    if what.controls:
        torch.manual_seed(what.seed)
        untrained = build(Trusted(what.arch), len(data.labels)).to(device)
        arms |= {"untrained network": (untrained, False), "shuffled labels": (model, True)}
    results: dict[str, object] = {}
    for name, (network, shuffled) in arms.items():
        spectrum, agreement = run(what, network, data, device, shuffled)
        rows, claims = show(f"{what.arch}, {name}", spectrum)
        results[name] = {
            "layers": [asdict(row) for row in rows],
            "claims": [asdict(claim) for claim in claims],
            "agreement": [asdict(line) for line in agreement],
        }
        if what.out:
            what.out.write_text(json.dumps(results, indent=2))


def trained(what: Reproduction, data: DataSet, device: torch.device) -> nn.Module:
    """The network of `--model`, or one trained here."""
    if what.model is not None:
        return load_checkpoint(str(what.model), arch=what.arch).model.to(device)
    torch.manual_seed(what.seed)
    model = build(Trusted(what.arch), len(data.labels))
    training = Training(epochs=what.epochs, max_batches=what.max_batches, seed=what.seed)
    with show_bar(f"train {what.arch}") as progress:
        journal = Journal(progress)
        train_network(model, TrainingData(data.train), training, device=device, journal=journal)
    if what.keep is not None:
        origin = Origin(
            what.arch,
            len(data.labels),
            data.name,
            data.labels,
            data.input_size,
            data.mean,
            data.std,
        )
        save_checkpoint(what.keep, model, origin)
    return model


def run(
    what: Reproduction, model: nn.Module, data: DataSet, device: torch.device, shuffled: bool
) -> tuple[Spectrum, tuple[Agreement, ...]]:
    """One arm: by the probe asked for; with both, also how far they agree."""
    example = next(iter(data.train.batches(2, device=device)))[0]
    network = TracedNetwork(model, trace(model, example), len(data.labels), device)
    if what.probe == "sgd":
        return literal(what, network, data, shuffled), ()
    spectrum = one_pass(what, network, data, shuffled)
    if what.probe != "both":
        return spectrum, ()
    agreement = compare_spectra(spectrum, literal(what, network, data, shuffled))
    show_agreement(agreement)
    return spectrum, agreement


def one_pass(what: Reproduction, network: TracedNetwork, data: DataSet, shuffled: bool) -> Spectrum:
    """By ridge, or by the published training on a sample."""
    train, test = (
        batches(part, limit, what.seed, network.device, shuffled)
        for part, limit in ((data.train, what.images), (data.test, what.test_images))
    )
    with show_bar("one pass") as progress:
        if what.probe == "ridge":
            return measure(network, train, test, progress=progress)[1]
        statistics = collect(network, train, sampled=True, progress=progress)
    sgd = Sgd.of(SOFTMAX_EPOCHS if what.probe_epochs is None else what.probe_epochs)
    with show_bar("softmax probes") as progress:
        return spectrum_by_softmax(network, statistics, test, sgd=sgd, progress=progress)


def literal(what: Reproduction, network: TracedNetwork, data: DataSet, shuffled: bool) -> Spectrum:
    """The published procedure."""
    size, device = 100, network.device

    def augmented(epoch: int) -> Batches:
        parts = data.train.batches(
            size, device=device, augment=True, shuffle_seed=epoch, limit=what.images
        )
        return shuffle(parts, network.num_labels, epoch) if shuffled else parts

    plain = batches(data.train, what.images, what.seed, device, shuffled)
    source = cached(network, plain) if what.cache else frozen(network, augmented)
    with show_bar("published procedure") as progress:
        return measure_by_sgd(
            network,
            source,
            batches(data.test, what.test_images, what.seed, device, shuffled),
            sgd=Sgd() if what.probe_epochs is None else Sgd.of(what.probe_epochs),
            progress=progress,
        )


def batches(split: Split, limit: int, seed: int, device: torch.device, shuffled: bool) -> Batches:
    """A random part of a split, with its own labels or with random ones."""
    parts = split.batches(128, device=device, shuffle_seed=seed, limit=limit)
    return shuffle(parts, int(split.labels_N.max()) + 1, seed) if shuffled else parts


def shuffle(parts: Batches, num_labels: int, seed: int) -> Batches:
    """The same images with labels that have nothing to do with them."""
    generator = torch.Generator().manual_seed(seed)
    for x, y in parts:
        yield x, torch.randint(num_labels, y.shape, generator=generator).to(y.device)


def show(title: str, spectrum: Spectrum) -> tuple[tuple[Row, ...], tuple[Claim, ...]]:
    """Print an arm's table and the claims."""
    rows = rows_of(spectrum)
    claims = check(rows, spectrum.num_labels)
    print(f"\n## {title}, probe: {spectrum.probe}\n\n{table(rows)}\n")
    for claim in claims:
        print(f"- {claim.text}: {'holds' if claim.holds else 'FAILS'} ({claim.evidence})")
    sys.stdout.flush()
    return rows, claims


def show_agreement(lines: Sequence[Agreement]) -> None:
    """Print one pass against the published procedure."""
    print("\n| layer | SR one pass | SR published | signal | SNR | sharpness | labels | same |")
    print("|---|---|---|---|---|---|---|---|")
    for line in lines:
        rates = f"{line.rates[0]:.3f} | {line.rates[1]:.3f}"
        scores = f"{line.signal:.2f} | {line.snr:.2f} | {line.sharpness:.2f}"
        print(
            f"| {line.name} | {rates} | {scores} | {line.labels:.2f} | {line.same_clusters:.2f} |"
        )


if __name__ == "__main__":
    main()
