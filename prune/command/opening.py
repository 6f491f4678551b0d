"""What a command starts with: the network, its data and the device, opened and held together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..chosen_output import choose_output, hook_output
from ..errors import InputError, UsageError
from ..forward import tensors_of
from ..inputs.callables import Name, Trusted
from ..inputs.checkpoint import Checkpoint, load_checkpoint
from ..inputs.data import open_data
from ..inputs.few_labels import choose_labels, of_labels
from ..inputs.label_order import listed, name_outputs, number_labels
from ..inputs.origin import Origin
from ..inputs.split import DataSet, Inputs, output_names
from ..job.known import EXAMPLES, Case
from ..options import DataOptions, NetworkOptions, RunOptions
from ..outputs import require_classifier
from ..progress import RunLog
from ..settling.few_labels import keep_labels
from ..settling.opened import SETTLING_IMAGES, Opened
from ..settling.settle import settle
from ..settling.size import settle_size
from ..structure.finite import check_finite_weights
from ..tasks import Task, settle_outputs
from ..training.device import pick_device
from .feeding import feeding, num_channels, sourced
from .home import data_at_home
from .said import tell, tell_folder, tell_inputs


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network before anything is known of its data.

    Attributes:
        checkpoint: its network is on `device`, in evaluation mode.
    """

    checkpoint: Checkpoint
    device: torch.device


def load_network(network: NetworkOptions, run: RunOptions, log: RunLog) -> Loaded:
    """The network that was asked for, on its device.

    Raises:
        UsageError: the device is missing, or an argument does not fit.
        InputError: the file cannot be used.
    """
    device = pick_device(run.device)
    with log.stage("load"):
        checkpoint = load_checkpoint(
            model_file(network.model),
            arch=network.arch,
            num_labels=network.num_labels,
            weights=network.weights,
            trust_pickle=network.trust_pickle,
            trust_file=network.trust_file,
        )
        checkpoint.model.to(device).to(memory_format=torch.channels_last).eval()
    return Loaded(checkpoint, device)


def open_case(
    network: NetworkOptions,
    images: DataOptions,
    run: RunOptions,
    log: RunLog,
    labels_kept: Sequence[str] = (),
    loaded: Loaded | None = None,
) -> tuple[Checkpoint, Case]:
    """The network, and the case that it is in. A folder that only a file names is told on stderr.

    Args:
        labels_kept: labels that the case is confined to, with a classifier of them alone.
        loaded: the network, where it is loaded already.

    Raises:
        UsageError: no data given and the file names none, the device is missing, or labels to keep
            that the data do not have.
        InputError: a file cannot be used, network and data disagree on the labels, or the network
            is no classifier of these images.
    """
    loaded = loaded or load_network(network, run, log)
    checkpoint, device = loaded.checkpoint, loaded.device
    with log.stage("open the data"):
        spec = name_data(network, images, checkpoint)
        looked = look(spec, images, run.seed, checkpoint)
        check_fit(looked, checkpoint)
        opened = with_output(Opened(checkpoint, looked, device), network.output)
        opened = at_fitting_size(opened, spec, images, run.seed)
        labels = choose_labels(labels_kept, opened.data) if labels_kept else ()
    checkpoint, data = opened.checkpoint, opened.data
    tell_folder(spec, data, is_given=images.data is not None)
    notes = check_runs(checkpoint.model, data, first_images(data, device))
    with log.stage("settle the inputs"):
        opened = settle(opened.noting(*notes), images)
        if labels:
            opened = keep_labels(opened, labels, first_images(opened.data, device))
    tell_inputs(opened.data)
    tell(opened.checkpoint.notes)
    return opened.checkpoint, Case(opened.checkpoint.model, opened.data, device, run.seed, log)


def model_file(model: str) -> str:
    """A run's folder stands for the network in it."""
    inside = Path(model) / "model.safetensors"
    return str(inside) if inside.is_file() else model


def name_data(network: NetworkOptions, images: DataOptions, checkpoint: Checkpoint) -> Name:
    """The data that was asked for, or else those that the model file names.

    Raises:
        UsageError: neither names any.
    """
    if images.data is not None:
        return Trusted(images.data)
    stated = checkpoint.origin.data
    if stated is None:
        raise UsageError(
            f"`model={network.model}` does not say what it was trained on; "
            "add `data` with a folder of images, cifar10, cifar100, fashion-mnist or digits"
        )
    stated = data_at_home(Path(model_file(network.model)), stated)
    return Trusted(stated) if network.trust_file else stated


def look(spec: Name, images: DataOptions, seed: int, checkpoint: Checkpoint) -> DataSet:
    """The data of that name; where their size is open, nothing is decoded before it is settled."""
    is_open = images.input_size is None and not checkpoint.knows_inputs
    in_memory = not (is_open and Path(str(spec)).is_dir())
    return open_data_of(spec, images, seed, checkpoint, in_memory=in_memory)


def at_fitting_size(opened: Opened, spec: Name, images: DataOptions, seed: int) -> Opened:
    """The same; a folder whose size of inputs nobody says at the size that fits the network."""
    is_open = images.input_size is None and not opened.checkpoint.knows_inputs
    if not (is_open and Path(str(spec)).is_dir() and opened.data.sources.size.is_guess):
        return opened
    opened, size, source = settle_size(opened, images)
    sized = replace(images, input_size=size)
    data = open_data_of(spec, sized, seed, opened.checkpoint)
    return replace(opened, data=data.sourced(size=source))


def open_data_of(
    spec: Name, images: DataOptions, seed: int, checkpoint: Checkpoint, *, in_memory: bool = True
) -> DataSet:
    """The data set of that name, fed as the options say, or else as the model file does."""
    origin = checkpoint.origin
    data = open_data(
        spec,
        **feeding(images, checkpoint),
        held_out=images.held_out,
        seed=seed,
        num_labels=origin.num_labels,
        unlabeled=images.unlabeled,
        in_memory=in_memory,
    )
    if data.unlabeled:
        data = replace(data, labels=output_names(origin.num_outputs))
        data = name_outputs(data, images, origin.labels)
    else:
        data = of_kept_labels(number_labels(data, images, origin.labels), origin)
    return sourced(data, images, checkpoint)


def of_kept_labels(data: DataSet, origin: Origin) -> DataSet:
    """The same; for a network that was cut to some of the labels, the images of those alone."""
    labels = origin.labels
    if not origin.labels_kept or not set(labels) < set(data.labels):
        return data
    whole = len(data.labels)
    note = f"the network tells {listed(labels)} apart, of {whole} labels; only their images count"
    few = of_labels(data, labels)
    return replace(few, notes=(*few.notes, note))


def check_fit(data: DataSet, checkpoint: Checkpoint) -> None:
    """Network and data must agree on the number of labels and of channels."""
    check_label_count(data, checkpoint.origin)
    given = data.input_size[0]
    expected = num_channels(checkpoint.model) or given
    if expected != given:
        raise InputError(
            f"the network has {expected} channels and `data={data.name}` has {given}; "
            "give the data that the network was trained on"
        )


def check_label_count(data: DataSet, origin: Origin) -> None:
    """There must be a label for each output; which is lacking is said as far as names tell.

    Raises:
        InputError: there are more or fewer.
    """
    expected, given = origin.num_outputs, len(data.labels)
    has_one_output = (expected, given) == (1, 2) and not data.multi_label
    if expected == given or has_one_output:
        return
    known, here = set(origin.labels), set(data.labels)
    surplus = [label for label in data.labels if label not in known] if known & here else []
    told = f"; the model file does not know {listed(surplus)}" if surplus else ""
    advice = "give the data that the network was trained on"
    if not data.multi_label:
        advice += ", or `unlabeled` to let the network label them"
    if expected > given:
        advice += f", or `labels` with the names of all {expected} outputs in their order"
    raise InputError(
        f"the network has {expected} labels and `data={data.name}` has {given} "
        f"({listed(data.labels)}){told}; {advice}"
    )


def first_images(data: DataSet, device: torch.device) -> Inputs:
    """A few training images, to find out with whether a network runs."""
    with torch.random.fork_rng(devices=[]):  # workers that decode draw from it
        return next(iter(data.train.batches(EXAMPLES, device=device, limit=EXAMPLES)))[0]


def with_output(opened: Opened, asked: str | None) -> Opened:
    """The same, its network giving the logits that were asked for, or that its file names.

    Raises:
        UsageError: no such output, or one that holds no logits.
        InputError: it cannot be known which of several holds them.
    """
    checkpoint, data = opened.checkpoint, opened.data
    name = asked if asked is not None else checkpoint.origin.output
    images = first_images(data, opened.device)
    choice = choose_output(checkpoint.model, images, len(data.labels), name)
    hook_output(checkpoint.model, choice.name)
    origin = replace(checkpoint.origin, output=choice.name)
    return replace(opened, checkpoint=replace(checkpoint, origin=origin)).noting(*choice.notes)


def check_runs(model: nn.Module, data: DataSet, images: Inputs) -> tuple[str, ...]:
    """Refuse, before any work, a network that is no classifier of these images.

    Returns:
        what has to be said of the task of network and data, a line each.

    Raises:
        InputError: as `require_classifier`, or its weights are not finite.
    """
    check_finite_weights(model)
    require_classifier(model, images, len(data.labels))
    device = tensors_of(images)[0].device
    labelled = data.train.batches(EXAMPLES, device=device, limit=SETTLING_IMAGES)
    task = Task(data.labels, data.multi_label)
    if data.unlabeled:
        labelled = iter(())
    return data.notes + settle_outputs(model, images, task, labelled)


def default_out(model: str) -> Path:
    """Where results go when nobody says: runs/, and the name of the network."""
    return Path("runs") / Path(model.replace(":", "-")).stem
