"""The Python API: the job on live networks and the user's own data loaders."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

from torch import nn
from torch.utils.data import DataLoader

from .budget import Budget
from .by_labels import AskedOfClassifier, compress_classifier
from .by_outputs import AskedOfOutputs, compress_by_outputs, gives_class_scores
from .chosen_output import choose_output, num_outputs, output_hooked
from .forward import first_rows
from .inputs.answered import OriginalAnswers
from .inputs.items import ItemReader
from .inputs.live import Live, read_live
from .inputs.pruned_file import load_pruned
from .inputs.split import Batches, output_names
from .job.by_outputs import Metric
from .job.by_weights import ByWeights, cut_by_weights
from .job.known import EXAMPLES
from .job_options import JobOptions, as_layers
from .mechanism.network import TracedNetwork
from .mechanism.spectrum import Spectrum, measure
from .outputs import require_classifier
from .results import Compressed as Compressed
from .results import Shrunk as Shrunk
from .settling.live import split_first, warn_of_labels
from .structure.choice import Choice
from .structure.finite import check_finite_weights
from .structure.plain import as_plain
from .structure.precision import as_float32
from .structure.tracing.trace import trace
from .tasks import Task, settle_outputs
from .training.device import pick_device
from .training.optimizer import remap_optimizer as remap_optimizer


def load(
    path: str | Path, model: nn.Module | None = None, *, trust_file: bool = False
) -> nn.Module:
    """Rebuild a network that this tool saved; no pickle is read, and no code that the file names.

    Args:
        path: model.safetensors of a run.
        model: a fresh, unpruned network of the architecture, where the file names none, or names
            code of your own.
        trust_file: build an architecture package.module:callable that the file names.

    Raises:
        InputError: the file cannot be used, it names code and is not trusted, or the network does
            not fit it.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inputs = torch.randn(100, 4)
        >>> smaller = compress(network, DataLoader(inputs, batch_size=50), macs=0.5, epochs=0)
        >>> with TemporaryDirectory() as folder:
        ...     smaller.save(f"{folder}/smaller.safetensors")
        ...     load(f"{folder}/smaller.safetensors", network)[0]
        Linear(in_features=4, out_features=4, bias=True)
    """
    return load_pruned(Path(path), model, trust_file=trust_file)


def shrink(
    model: nn.Module,
    example_inputs: Any,
    keep: float = 0.6,
    criterion: str = "l1",
    seed: int = 0,
    *,
    whole: Sequence[str] = (),
    only: Sequence[str] = (),
    at_least: int = 1,
) -> Shrunk:
    """Remove filters by their weights alone: no data, no repair, no training.

    Args:
        model: any network; it is not changed.
        example_inputs: what one call of it takes: a tensor, a tuple, a list or a dictionary.
        keep: share of the filters kept in every layer, above 0 and at most 1.
        criterion: "l1", "l2", "bn-scale", "fpgm", "lamp" or "random".
        seed: of "random".
        whole: layers that keep all of their filters: names, modules with layers in them, or
            patterns such as "layer4.*.conv1".
        only: or the only layers that filters are removed from.
        at_least: filters that every layer keeps at the least.

    Raises:
        UsageError: `keep`, `criterion` or `at_least` is out of range, or a name is of no layer.
        InputError: the network does not run on the inputs.

    Examples:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
        >>> smaller = shrink(network, torch.zeros(1, 1, 8, 8), keep=0.5)
        >>> smaller.model[0].out_channels, smaller.certificate.ok
        (4, True)
    """
    budget = Budget("keep", keep)
    how = ByWeights(criterion, seed, Choice(as_layers(whole), as_layers(only)), at_least)
    plain = as_plain(model)
    done = cut_by_weights(plain.model, example_inputs, budget, how)
    why = dict(done.cut.structure.kept_whole)
    return Shrunk(done.model, done.plan, done.certificate, why, done.cut, plain.notes)


def rank(
    model: nn.Module,
    batches: Iterable[Any],
    held_out: Iterable[Any],
    num_labels: int | None = None,
    *,
    device: str = "auto",
    output: str | None = None,
    unlabeled: bool = False,
    multi_label: bool = False,
) -> Spectrum:
    """The mechanism of a network: success rate of every layer, label matrix of every filter.

    Args:
        batches: inputs (N, ...) float32 and labels (N,) int64 that the probes are solved on; also
            dictionaries, and several inputs, as `inputs/items.py` reads them.
        held_out: the same, for success rates and fields.
        num_labels: K; labels lie in 0..K-1. Without labels, by default the network's outputs.
        output: which of several outputs holds the logits, as in `compress`.
        unlabeled: as in `compress`: what filters select among the network's answers.
        multi_label: as in `compress`.

    Raises:
        UsageError: no such output, or labels without their number.
        InputError: no batches, or nothing to remove.

    Warns:
        UserWarning: the network is near chance on held-out images, or another order of the labels
            fits it better.

    Examples:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inputs = torch.randn(200, 4)
        >>> batches = [(inputs, network(inputs).argmax(1))]
        >>> (layer,) = rank(network, batches, batches, num_labels=2).groups
        >>> layer.success_rate > 0.8, layer.field(0).shape
        (True, (2, 2))
    """
    place = pick_device(device)
    model = as_plain(model).model
    check_finite_weights(model)
    model = as_float32(model).model.to(place)
    reader = ItemReader.of(model)
    live = read_live(batches, held_out, reader, num_labels, place, unlabeled=unlabeled)
    example = first_rows(live.first[0], EXAMPLES)
    if num_labels is None:
        num_labels = max(2, num_outputs(model, example, output))
    choice = choose_output(model, example, num_labels, output)
    with output_hooked(model, choice.name):
        require_classifier(model, example, num_labels)
        task = live.task
        if live.unlabeled:
            task = Task(output_names(num_labels), multi_label)
            live = _answered(live, OriginalAnswers(deepcopy(model), place, num_labels, multi_label))
        settle_outputs(model, example, task, [] if live.unlabeled else [live.first])
        structure = trace(model, example)
        network = TracedNetwork(model, structure, num_labels, place)
        judged, rest = split_first(live.held_out)
        warn_of_labels(model, judged, num_labels, unlabeled=live.unlabeled)
        _, spectrum = measure(network, live.train, rest)
    return spectrum


def _answered(live: Live, answers: OriginalAnswers) -> Live:
    """The same batches with the network's answers as labels."""

    def read(batches: Batches) -> Batches:
        return ((inputs, answers(inputs)) for inputs, _ in batches)

    return replace(live, train=read(live.train), held_out=read(live.held_out))


def compress(
    model: nn.Module,
    train: DataLoader[Any],
    num_labels: int | None = None,
    *,
    held_out: DataLoader[Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    output: str | None = None,
    labels_kept: Sequence[int | str] = (),
    unlabeled: bool = False,
    multi_label: bool = False,
    judge: Literal["answers", "outputs"] | None = None,
    part: str | None = None,
    metric: Metric | None = None,
    **options: Unpack[JobOptions],
) -> Compressed:
    """The whole job on your own network and data loaders, without files.

    Args:
        model: a trained network; it is not changed.
        train: gives inputs and labels as the network takes them, augmented as you like: (inputs,
            label), several inputs, or a dictionary (see `inputs/items.py`).
        num_labels: K. Without labels, by default the network's outputs. Left out, and with outputs
            that are no class scores (N, K), the network is judged by them, whatever they are
            (`output_score`): what follows the inputs in `train` is not looked at.
        held_out: makes every choice; default: a tenth of `train`'s data set, taken out of it.
        progress: draw progress bars on stderr.
        output: which of several outputs holds the logits: a key, an attribute, an index ("1"), or
            several joined by dots ("head.logits"). Default: the tensor itself; "logits" or "out";
            the first of a tuple; the only one of K columns.
        labels_kept: keep these labels alone, by number: the classifier is cut to them, in
            ascending order, and all that follows is done on their items. Default: all.
        unlabeled: read no labels: the network's own answers stand in their place, and accuracies
            are fidelities. Inputs are then the first of an item, or as many as the network needs.
            Items that are bare tensors, tuples of one, or dictionaries of nothing but arguments
            need no word.
        multi_label: of unlabeled images: every output above 0 is an answer, not the highest one.
        judge: "outputs" takes a network of one row of numbers for each image (an embedding, a
            regression) for what it is; "answers" takes it for a classifier, the default.
        part: prune this module alone, such as "backbone", judged by its outputs, which stay as wide
            as they are; batches go to the whole network.
        metric: your own measure of the whole network, (network) -> number, higher is better, for
            networks that are judged by their outputs; it is reported of every stage and decides
            nothing.
        **options: any flag of `prune-dl` that chooses filters, retrains or measures latency, by
            its name: a budget (`keep=0.6`, `macs=0.4`, `params=0.3`, `latency_ms=5.0`,
            `max_drop=1.0`), `rank="l1"`, `allocate="error"`, `epochs=0`, `lr=0.01`, ...
            `rank` may also be a function of yours, from the top level of its module
            (its parameters: `prune/selection/custom.py`). `batch_size` is by default that of
            `train`.

    Raises:
        UsageError, InputError, GateError: as the command does.

    Examples:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> _ = torch.manual_seed(0)
        >>> network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> inputs = torch.randn(200, 4)
        >>> items = TensorDataset(inputs, network(inputs).argmax(1))
        >>> smaller = compress(network, DataLoader(items, 50), num_labels=2, keep=0.5, epochs=0)
        >>> smaller.model[0].out_features, smaller.outcome.certificate.ok
        (8, True)
    """
    stated = AskedOfClassifier(
        num_labels, output, labels_kept, unlabeled, multi_label, seed, device, progress
    )
    asked = AskedOfOutputs(part, metric, judge, seed, device, progress)
    is_open = judge is None and not stated.stated
    if asked.is_sure or (is_open and not gives_class_scores(model, train)):
        asked.refuse(stated.stated)
        return compress_by_outputs(model, train, held_out, asked, options)
    return compress_classifier(model, train, held_out, stated, options)
