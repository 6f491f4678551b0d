"""What the mechanism costs on top of a bare forward pass, in time and memory.

    python tests/benchmarks/one_pass.py
    python tests/benchmarks/one_pass.py --arch torchvision:resnet50 --size 224 --labels 1000 \\
        --images 256 --batch-size 32
    python tests/benchmarks/one_pass.py --probe softmax --images 3072

Random weights and random images: the work does not depend on either. The bare pass and the
measuring pass take turns over the same batches; the ratio is that of their totals. The fixed cost
(solving the probes, the fields and clusters of all filters) is listed beside it: it is paid once,
however many images. Of the softmax probes it grows with the sample until that is full, and is
scaled to a full one. The published procedure is timed on a few batches and scaled to its 200 epochs
over the same images.
"""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import torch
import tyro
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.held_out import evaluate_probes
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Sgd, frozen, train_probes
from prune_dl.prune.mechanism.probe import Probe, solve
from prune_dl.prune.mechanism.sample import LayerSample
from prune_dl.prune.mechanism.softmax import SOFTMAX_EPOCHS, fit_probes
from prune_dl.prune.mechanism.spectrum import spectrum_of
from prune_dl.prune.mechanism.statistics import Statistics, collect
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor, nn

CPU = torch.device("cpu")
Batch = tuple[Tensor, Tensor]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Options:
    """What is timed."""

    arch: str = "vgg16"
    size: int = 32
    labels: int = 10
    probe: Literal["ridge", "softmax"] = "ridge"
    images: int = 2048
    batch_size: int = 128
    turns: int = 3
    """Times that each of the two passes runs, one after the other."""
    literal_batches: int = 2
    """Batches on which the published procedure is timed; 0 leaves it out."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor seconds of this process, which other work on the machine changes little."""


def main(options: Options) -> None:
    """Print one table."""
    torch.manual_seed(0)
    now = time.perf_counter if options.clock == "wall" else time.process_time
    model = build_network(options).eval()
    held = [random_batch(options, seed) for seed in range(4)]
    batches = list(islice(cycle(held), max(1, options.images // options.batch_size)))
    network = TracedNetwork(model, trace(model, held[0][0][:2]), options.labels, CPU)
    bare(model, held[:1], now)
    before = peak_bytes()
    bare_s, one_pass_s, statistics = take_turns(network, batches, options, now)
    solve_s, spectrum_s = time_fixed(network, statistics, held[:1], options, now)
    print(
        f"{options.arch}, {options.size} px, {options.labels} labels, {options.images} images, "
        f"{options.probe}"
    )
    print(f"bare forward pass        {bare_s:8.1f} s")
    print(f"with all statistics      {one_pass_s:8.1f} s   ratio {one_pass_s / bare_s:.2f}")
    print(f"probes                   {solve_s:8.1f} s   once, for any number of images")
    print(f"fields, clusters         {spectrum_s:8.1f} s   once, for any number of images")
    print(f"statistics               {size_of(statistics) / 1e6:8.0f} MB")
    if options.probe == "softmax":
        print(f"samples                  {describe(samples_of(statistics))}")
    print(f"peak memory above bare   {(peak_bytes() - before) / 1e6:8.0f} MB")
    if options.literal_batches:
        print(f"published procedure      {literal(network, batches, options, now)}")


def build_network(options: Options) -> nn.Module:
    """With random weights."""
    if options.arch.startswith("torchvision:"):
        from torchvision.models import get_model

        name = options.arch.removeprefix("torchvision:")
        network: nn.Module = get_model(name, weights=None, num_classes=options.labels)
        return network
    return build(Trusted(options.arch), options.labels)


def random_batch(options: Options, seed: int) -> Batch:
    """Images of noise and random labels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (options.batch_size, 3, options.size, options.size)
    labels = torch.randint(options.labels, (options.batch_size,), generator=generator)
    return torch.randn(shape, generator=generator), labels


def bare(model: nn.Module, batches: list[Batch], now: Clock) -> float:
    """Seconds of the forward pass alone."""
    start = now()
    with torch.no_grad():
        for x, _ in batches:
            model(x.to(memory_format=torch.channels_last))
    return now() - start


def take_turns(
    network: TracedNetwork,
    batches: list[Batch],
    options: Options,
    now: Clock,
) -> tuple[float, float, Statistics]:
    """Total seconds of the bare and of the measuring passes, in turns, over `turns` turns."""
    totals = [0.0, 0.0]
    for _ in range(options.turns):
        totals[0] += bare(network.model, batches, now)
        start = now()
        statistics = collect(network, batches, sampled=options.probe == "softmax")
        totals[1] += now() - start
    return totals[0] / options.turns, totals[1] / options.turns, statistics


def time_fixed(
    network: TracedNetwork,
    statistics: Statistics,
    held_out: list[Batch],
    options: Options,
    now: Clock,
) -> tuple[float, float]:
    """Seconds of what follows the pass, without the held-out images' own: probes, and the rest."""
    start = now()
    probes = probes_of(statistics, options)
    solve_s = now() - start
    if options.probe == "softmax":
        solve_s /= fullness(samples_of(statistics))
    sums = evaluate_probes(network, probes, held_out)

    def means(name: str) -> Tensor:
        return sums[name].means_KD()

    start = now()
    spectrum_of(network.structure, probes, sums, means, title=options.probe)
    return solve_s, now() - start


def probes_of(statistics: Statistics, options: Options) -> dict[str, Probe]:
    """Of the kind asked for."""
    if options.probe == "ridge":
        return {name: solve(layer) for name, layer in statistics.layers.items()}
    samples = samples_of(statistics)
    return fit_probes(samples, options.labels, Sgd.of(SOFTMAX_EPOCHS), device=CPU)


def samples_of(statistics: Statistics) -> dict[str, LayerSample]:
    """Of the layers that have one."""
    return {name: x.sample for name, x in statistics.layers.items() if x.sample is not None}


def fullness(samples: Mapping[str, LayerSample]) -> float:
    """Samples kept, as a share of those that would be kept of many images."""
    return min(len(sample.keys_S) / sample.limit for sample in samples.values())


def describe(samples: Mapping[str, LayerSample]) -> str:
    """How many, of how many features, and their memory when full."""
    limit = next(iter(samples.values())).limit
    features = sum(sample.levels_SD.shape[1] for sample in samples.values())
    size = limit * features / 1e6
    return f"{size:8.0f} MB  when full: {limit} of {features}; full by {fullness(samples):.0%}"


def literal(
    network: TracedNetwork,
    batches: list[Batch],
    options: Options,
    now: Clock,
) -> str:
    """What the published probes over 200 epochs of all images cost, from a few batches."""
    few = batches[: options.literal_batches]
    source = frozen(network, lambda epoch: few)
    start = now()
    try:
        train_probes(source, options.labels, Sgd.of(1))
    except InputError as error:
        return f"impossible: {error}"
    seconds = now() - start
    scaled = seconds * 200 * options.images / sum(len(y) for _, y in few)
    return f"{scaled:8.0f} s   scaled to 200 epochs, layers together"


def size_of(statistics: Statistics) -> int:
    """Bytes of all sums."""
    layers = statistics.layers.values()
    tensors = [t for x in layers for t in (x.counts_K, x.sums_KD, x.gram_DD, x.moments_CC)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peak_bytes() -> int:
    """Most memory this process ever held (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(tyro.cli(Options))
