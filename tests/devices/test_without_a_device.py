"""Every stage on a device that is not there (`elsewhere`), with the CPU's results as the answer.

A tensor left on the wrong side raises; what crosses is counted, and held to `docs/devices.md`.
"""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import Machine, Remote, counted
from prune_dl.evaluate.measure.accuracy import EVALUATION_BATCH, measure_accuracy
from prune_dl.prune import by_labels, compress, remap_optimizer
from prune_dl.prune.inputs.arrays import ArraySplit, Augmentation, Images
from prune_dl.prune.inputs.loaders import LoaderSplit
from prune_dl.prune.inputs.streams import StreamSplit
from prune_dl.prune.job import plan
from prune_dl.prune.mechanism.held_out import evaluate_probes
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Sgd, cached, measure_by_sgd, train_probes
from prune_dl.prune.mechanism.softmax import spectrum_by_softmax
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import Statistics, collect
from prune_dl.prune.repair.norms import find_norm_behind, reestimate_norms
from prune_dl.prune.repair.refit import RefitImages, refit
from prune_dl.prune.repair.repair import repair
from prune_dl.prune.selection.classic import taylor
from prune_dl.prune.selection.criteria import CRITERIA, rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.train import TrainingData, train_network
from scenes import structure_zoo as zoo
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.data import DataLoader, TensorDataset

CPU = torch.device("cpu")
LABELS, SIZE = 4, 16
"""Of the made-up images: labels, and pixels a side."""


@dataclass(frozen=True)
class Lab:
    """A network on the CPU, what is known of it there, and the machine that is elsewhere."""

    machine: Machine
    model: nn.Module
    structure: Structure

    @property
    def device(self) -> torch.device:
        return self.machine.device

    def there(self, model: nn.Module | None = None) -> nn.Module:
        """A copy of a network (default: the lab's) on the device."""
        return copy.deepcopy(self.model if model is None else model).to(self.device)

    def traced(self, model: nn.Module, device: torch.device) -> TracedNetwork:
        return TracedNetwork(model, self.structure, LABELS, device)

    @property
    def cut(self) -> Cut:
        """Two thirds of every layer stay."""
        layers = tuple(
            LayerPlan(x.name, x.num_filters, x.kept[: 2 * len(x.kept) // 3])
            for x in keep_everything(self.structure).layers
        )
        return Cut(self.structure, Plan(layers))


def images(count: int = 96) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(count) % LABELS


def array_split(count: int = 96) -> ArraySplit:
    pixels, labels_N = images(count)
    half = (0.5, 0.5, 0.5)
    return ArraySplit(
        Images(pixels), torch.arange(count), labels_N, half, half, Augmentation(shift=2)
    )


def decode(position: int, seed: int | None) -> Tensor:
    return images()[0][position]


def stream_split() -> StreamSplit:
    half = (0.5, 0.5, 0.5)
    return StreamSplit(decode, torch.arange(96), images()[1], half, half, num_workers=0)


def loader_split() -> LoaderSplit:
    pixels, labels_N = images()
    return LoaderSplit(TensorDataset(pixels / 255, labels_N))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 9, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(36, LABELS),
    ).eval()  # fmt: skip
    structure = trace(model, torch.zeros(2, 3, SIZE, SIZE))
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    autocast = torch.autocast

    def cast(device_type: str, *args: Any, **named: Any) -> Any:
        """The machine's device has no types to cast to."""
        return autocast("cpu" if device_type == "meta" else device_type, *args, **named)

    monkeypatch.setattr(torch, "autocast", cast)
    machine = Machine("meta")
    with machine:
        yield Lab(machine, model, structure)


def sum_up(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 sums on the device, or on the CPU where the device has none."""
    if way == "as CUDA":
        monkeypatch.setattr(TracedNetwork, "sums_device", property(lambda self: self.device))


def batches(device: torch.device, batch_size: int = 32) -> list[tuple[Tensor, Tensor]]:
    return list(array_split().batches(batch_size, device=device))


def equal(here: Any, there: Any, tolerance: float = 1e-5) -> None:
    """The same values as on the CPU, up to rounding."""
    there = there.values if isinstance(there, Remote) else there
    there, here = torch.as_tensor(there), torch.as_tensor(here)
    torch.testing.assert_close(there, here, rtol=10 * tolerance, atol=tolerance)


def equal_networks(here: nn.Module, there: nn.Module, tolerance: float = 1e-5) -> None:
    values = there.state_dict()
    for name, value in here.state_dict().items():
        assert isinstance(values[name], Remote), f"{name} is no longer on the device"
        equal(value, values[name], tolerance)


def test_the_machine_tells_what_a_real_device_would(lab: Lab) -> None:
    network = lab.there()
    with pytest.raises(RuntimeError, match="same device"):
        network(torch.zeros(1, 3, SIZE, SIZE))
    x = torch.zeros(3, device=lab.device)
    with pytest.raises(RuntimeError, match="same device"):
        x.index_select(0, torch.tensor([0]))
    assert counted(lab.machine, lambda: float(x.sum())) == {"reads": 1}
    assert counted(lab.machine, lambda: x.cpu()) == {"to host": 1}
    assert counted(lab.machine, lambda: x[torch.tensor([1])]) == {
        "to device": 1,
        "waiting copies": 1,
    }
    assert counted(lab.machine, lambda: x[x > 0]) == {"waits": 1}
    assert not counted(lab.machine, lambda: x + 1)


@pytest.mark.parametrize("make", [array_split, stream_split, loader_split])
@pytest.mark.parametrize("augment", [False, True])
def test_batches_of_every_kind_of_data_are_on_the_device(
    make: Any, augment: bool, lab: Lab
) -> None:
    split = make()
    keywords = {"augment": augment, "shuffle_seed": 3}
    pairs = zip(
        split.batches(40, device=lab.device, **keywords),
        split.batches(40, device=CPU, **keywords),
        strict=True,
    )
    for there, here in pairs:
        for one, other in zip(there, here, strict=True):
            assert isinstance(one, Remote)
            equal(other, one)


@pytest.mark.parametrize("way", ["as CUDA", "as MPS"])
def test_statistics_and_probes_of_every_kind(
    way: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    sum_up(way, monkeypatch)

    def measured(model: nn.Module, device: torch.device) -> tuple[Statistics, list[Spectrum]]:
        network = lab.traced(model, device)
        some = batches(device)
        statistics = collect(network, some, sampled=True)
        _, ridge = measure(network, some, some)
        softmax = spectrum_by_softmax(network, statistics, some, sgd=Sgd.of(2))
        sgd = measure_by_sgd(network, cached(network, some), some, sgd=Sgd.of(2))
        return statistics, [ridge, softmax, sgd]

    here, spectra = measured(lab.model, CPU)
    there, remote = measured(lab.there(), lab.device)
    for name, layer in here.layers.items():
        for tensor in ("counts_K", "sums_KD", "gram_DD", "moments_CC"):
            found = getattr(there.layers[name], tensor)
            assert not isinstance(found, Remote), "statistics end on the CPU"
            equal(getattr(layer, tensor), found)
        assert layer.sample is not None
        equal(layer.sample.levels_SD.float(), there.layers[name].sample.levels_SD.float())
    for one, other in zip(spectra, remote, strict=True):
        for own, found in zip(one.groups, other.groups, strict=True):
            equal(own.success_rate, found.success_rate)
            equal(own.weights_UKQ, found.weights_UKQ)


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "bn-scale"])
def test_every_criterion_ranks_as_on_the_cpu(criterion: str, lab: Lab) -> None:
    statistics, spectrum = measure(lab.traced(lab.model, CPU), batches(CPU), batches(CPU))

    def ranked(model: nn.Module, device: torch.device) -> Any:
        evidence = Evidence(model, lab.structure, statistics, spectrum, batches(device))
        return rank_units(criterion, evidence)

    for own, found in zip(
        ranked(lab.model, CPU).scores, ranked(lab.there(), lab.device).scores, strict=True
    ):
        equal(own, found)


def test_surgery_and_certificate(lab: Lab) -> None:
    model = lab.there()
    smaller = remove(model, lab.cut)
    equal_networks(remove(lab.model, lab.cut), smaller)
    certificate = certify(model, smaller, lab.cut, batches(lab.device)[0][0][:8])
    assert certificate.applies
    assert certificate.ok


def test_repair_refit_and_norms(lab: Lab) -> None:
    statistics, _ = measure(lab.traced(lab.model, CPU), batches(CPU), batches(CPU))
    checked = collect(lab.traced(lab.model, CPU), batches(CPU)[:1]).moments

    def mended(model: nn.Module, device: torch.device) -> nn.Module:
        smaller = remove(model, lab.cut)
        some = [x for x, _ in batches(device)]
        norm = find_norm_behind(model, some[0][:8])
        whole, _ = repair(smaller, model, lab.cut, statistics, norm_behind=norm, held_out=checked)
        pictures = RefitImages(some[:2], some[2])
        whole, notes = refit(whole, model, lab.cut, pictures, norm_behind=norm)
        assert notes.error
        return reestimate_norms(whole, batches(device), device)

    equal_networks(mended(lab.model, CPU), mended(lab.there(), lab.device))


RECIPE = Training(epochs=2, batch_size=32, lr=0.01, mixup=0.2, averaging=0.9, patience=5)


def trained(lab: Lab, device: torch.device, recipe: Training = RECIPE) -> nn.Module:
    model = copy.deepcopy(lab.model) if device == CPU else lab.there()
    data = TrainingData(array_split(), array_split(64))
    torch.manual_seed(0)
    return train_network(model, data, recipe, device=device, teacher=copy.deepcopy(lab.model))


def test_a_training_with_everything_and_its_accuracy(lab: Lab) -> None:
    here, there = trained(lab, CPU), trained(lab, lab.device)
    equal_networks(here, there, 1e-3)  # rounding grows from step to step
    found = measure_accuracy(there, array_split(), device=lab.device)
    assert found == measure_accuracy(here, array_split(), device=CPU)


def test_an_optimizer_is_carried_over(lab: Lab) -> None:
    model = lab.there()
    optimizer = torch.optim.AdamW(model.parameters())
    model(batches(lab.device)[0][0]).sum().backward()
    optimizer.step()
    smaller = remove(model, lab.cut)
    moved = remap_optimizer(optimizer, model, smaller, lab.cut)
    assert all(isinstance(state["exp_avg"], Remote) for state in moved.state.values())
    smaller(batches(lab.device)[0][0]).sum().backward()
    moved.step()


def traced_on_the_cpu(model: nn.Module, example: Tensor, *choice: Any) -> Structure:
    """Tracing knows no device: it runs on meta tensors, whose name the machine has taken."""
    here, x = copy.deepcopy(model).cpu(), example.cpu()
    with _disable_current_modes():
        return trace(here, x, *choice)


@pytest.mark.parametrize(
    "options",
    [
        {"keep": 0.6, "epochs": 1},
        {"keep": 0.6, "epochs": 1, "steps": 2, "rank": "taylor"},
        {"keep": 0.6, "epochs": 0, "cut_depth": True},
        {"keep": 0.6, "epochs": 0, "repair": False},
        {"max_drop": 50.0, "epochs": 0},
    ],
    ids=str,
)
def test_compress_from_loaders_to_the_retrained_network(
    options: Any, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_labels, "pick_device", lambda name: lab.device)
    monkeypatch.setattr(plan, "trace", traced_on_the_cpu)
    pixels, labels_N = images()
    loader = DataLoader(TensorDataset(pixels / 255, labels_N), batch_size=32)
    outcome = compress(copy.deepcopy(lab.model), loader, LABELS, **options)
    assert outcome.outcome.certificate.ok
    assert all(isinstance(x, Remote) for x in outcome.model.state_dict().values())


ZOO = (
    *(zoo.plain, zoo.residual, zoo.option_a, zoo.shuffle, zoo.concatenation, zoo.squeeze_excite),
    *(zoo.grouped, zoo.channelwise_norm, zoo.shared_and_tied, zoo.prelu_and_scale),
    *(zoo.pixel_shuffle, zoo.control_flow, zoo.loose_parameter, zoo.weight_standardised),
)


@pytest.mark.slow
@pytest.mark.parametrize("make", ZOO)
def test_compress_gives_what_it_gives_on_the_cpu(
    make: Callable[[], zoo.Built], lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks that each use one thing that is easily done on the wrong side."""
    torch.manual_seed(0)
    model, _ = make()
    images_N = torch.randn(64, 3, 8, 8)
    labels = model.eval()(images_N[:1]).shape[1]
    loader = DataLoader(TensorDataset(images_N, torch.arange(64) % labels), batch_size=16)

    def compressed(device: torch.device) -> nn.Module:
        monkeypatch.setattr(by_labels, "pick_device", lambda name: device)
        return compress(copy.deepcopy(model), loader, labels, keep=0.7, epochs=1).model

    with _disable_current_modes():
        here = compressed(CPU)
    monkeypatch.setattr(plan, "trace", traced_on_the_cpu)
    equal_networks(here, compressed(lab.device), 1e-3)


def per_batch(lab: Lab, work: Callable[[int], Any]) -> dict[str, float]:
    """What crosses for every batch more: the difference of 6 batches and 3."""
    many, few = (counted(lab.machine, partial(work, count)) for count in (6, 3))
    assert not few - many
    return {what: number / 3 for what, number in (many - few).items()}


BATCH = 32
ARRAYS = 4
"""Copies to the device for a batch of decoded images: positions, labels, mean and deviation."""
READERS = 2
"""Layers of the lab's network that statistics look at."""


@pytest.mark.parametrize(
    ("recipe", "more"),
    [({"distill": 0.0}, 0), ({}, 0), ({"mixup": 0.2}, 1), ({"averaging": 0.9}, 2)],
)
def test_a_training_step_reads_nothing(recipe: dict[str, Any], more: int, lab: Lab) -> None:
    """Augmentation copies rows and columns, mixup its order, averaging torch's step count."""

    def train(count: int) -> None:
        training = Training(epochs=1, batch_size=BATCH, lr=0.01, **recipe)
        data = TrainingData(array_split(BATCH * count))
        train_network(lab.there(), data, training, device=lab.device, teacher=lab.there())

    waiting = {"waiting copies": 2} if "averaging" in recipe else {}
    assert per_batch(lab, train) == {"to device": ARRAYS + 2 + more, **waiting}


def part(lab: Lab, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    return array_split(BATCH * count).batches(BATCH, device=lab.device)


def test_accuracy_reads_nothing_in_a_batch(lab: Lab) -> None:
    model = lab.there()

    def measured(count: int) -> None:
        measure_accuracy(model, array_split(EVALUATION_BATCH * count), device=lab.device)

    assert per_batch(lab, measured) == {"to device": ARRAYS}


@pytest.mark.parametrize(
    ("way", "sampled", "to_host"),
    [
        ("as CUDA", False, 1),
        ("as CUDA", True, 2 + 3 * READERS),
        ("as MPS", False, 1 + 2 * READERS),
        ("as MPS", True, 2 + 5 * READERS),
    ],
)
def test_the_pass_of_statistics_copies_what_the_list_says(
    way: str, sampled: bool, to_host: int, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels' range; of a sample its keys and three tensors a layer; sums, where the CPU adds
    them up, two a layer. No read, no wait."""
    sum_up(way, monkeypatch)
    network = lab.traced(lab.there(), lab.device)
    found = per_batch(lab, lambda count: collect(network, part(lab, count), sampled=sampled))
    assert found == {"to host": to_host, "to device": ARRAYS}


@pytest.mark.parametrize(("way", "to_host"), [("as CUDA", 1), ("as MPS", 1 + 3 * READERS)])
def test_the_pass_of_held_out_images_copies_what_the_list_says(
    way: str, to_host: int, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    sum_up(way, monkeypatch)
    network = lab.traced(lab.there(), lab.device)
    probes = train_probes(cached(network, batches(lab.device)), LABELS, Sgd.of(1))
    found = per_batch(lab, lambda count: evaluate_probes(network, probes, part(lab, count)))
    assert found == {"to host": to_host, "to device": ARRAYS}


def test_what_else_crosses_in_a_batch(lab: Lab) -> None:
    model = lab.there()
    norms = per_batch(lab, lambda n: reestimate_norms(model, part(lab, n), lab.device))
    assert norms == {"reads": 1, "to device": ARRAYS}, "torch reads how many batches a norm has had"
    gradients = per_batch(lab, lambda n: taylor(model, lab.structure, part(lab, n)))
    assert gradients == {"to host": 2 * READERS, "to device": ARRAYS}, "weight and gradient"
    smaller = remove(model, lab.cut)

    def refitted(count: int) -> None:
        refit(smaller, model, lab.cut, RefitImages([x for x, _ in part(lab, count)]))

    positions = 2 * READERS + 1  # of inputs and outputs; one layer's outputs are thinned
    reads = (
        2 + 7
    )  # one layer has a ReLU right after it: four solutions, its errors before and after
    assert per_batch(lab, refitted) == {
        **{"reads": reads, "to device": ARRAYS + positions},
        "waiting copies": positions,
    }


LISTED = re.compile(r"\.cpu\(\)|\.item\(\)|\.to\([^)]*(device|place|home)|non_blocking")
"""What moves a tensor, or reads a value, as the product writes it."""


def test_every_file_that_moves_data_is_in_the_list() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "devices.md").read_text(encoding="utf-8")
    sources = (
        path for folder in ("prune", "export", "evaluate") for path in (root / folder).rglob("*.py")
    )
    moving = [path for path in sources if LISTED.search(path.read_text(encoding="utf-8"))]
    names = [path.relative_to(root).as_posix() for path in moving]
    assert [name for name in names if f"`{name}`" not in text] == []
    stated = set(re.findall(r"`((?:prune|export|evaluate)/[a-z_/]+\.py)`", text))
    assert [name for name in stated if not (root / name).exists()] == []
