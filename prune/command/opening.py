"""What a command starts with: the network, its data and the device, opened and held together."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..chosen_output import choose_output, hook_output
from ..errors import InputError, UsageError
from ..inputs.callables import Name, Trusted
from ..inputs.checkpoint import Checkpoint, load_checkpoint
from ..inputs.data import open_data
from ..inputs.split import DataSet, Inputs
from ..job.known import EXAMPLES, Case
from ..options import DataOptions, NetworkOptions, RunOptions
from ..outputs import require_classifier
from ..progress import RunLog
from ..settling.opened import Opened
from ..settling.settle import settle
from ..structure.finite import check_finite_weights
from ..training.device import pick_device
from .home import data_at_home


def open_case(
    network: NetworkOptions, images: DataOptions, run: RunOptions, log: RunLog
) -> tuple[Checkpoint, Case]:
    """The network, and the case that it is in. A folder that only a file names is told on stderr.

    Raises:
        UsageError: no data given and the file names none, or the device is missing.
        InputError: a file cannot be used, network and data disagree on the labels, or the network
            is no classifier of these images.
    """
    device = pick_device(run.device)
    with log.stage("load"):
        checkpoint = load_checkpoint(
            model_file(network.model),
            arch=network.arch,
            num_labels=network.num_labels,
            trust_pickle=network.trust_pickle,
            trust_file=network.trust_file,
        )
        spec = name_data(network, images, checkpoint)
        data = open_data_of(spec, images, run.seed, checkpoint)
    if images.data is None and Path(data.name).is_absolute():
        print(f"prune-dl: data: {data.name}, which the model file names", file=sys.stderr)
    check_fit(data, checkpoint)
    checkpoint.model.to(device).to(memory_format=torch.channels_last).eval()
    images = first_images(data, device)
    checkpoint = with_output(checkpoint, images, len(data.labels), network.output)
    check_runs(checkpoint.model, images, len(data.labels))
    opened = settle(Opened(checkpoint, data, device), images)
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


def open_data_of(spec: Name, images: DataOptions, seed: int, checkpoint: Checkpoint) -> DataSet:
    """The data set of that name, fed as the flags say, or else as the model file does."""
    origin = checkpoint.origin
    known = origin if checkpoint.knows_inputs else None
    size = images.input_size
    square = (num_channels(checkpoint.model), size, size) if size else None
    return open_data(
        spec,
        input_size=square or (known.input_size if known else None),
        mean=images.mean or (known.mean if known else None),
        std=images.std or (known.std if known else None),
        held_out=images.held_out,
        seed=seed,
    )


def num_channels(model: nn.Module) -> int:
    """Channels of an image, as the first convolution takes them; 3 where there is none."""
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def check_fit(data: DataSet, checkpoint: Checkpoint) -> None:
    """Network and data must agree on the number of labels and of channels."""
    pairs = (
        ("labels", checkpoint.origin.num_labels, len(data.labels)),
        ("channels", num_channels(checkpoint.model), data.input_size[0]),
    )
    for what, expected, given in pairs:
        if expected != given:
            raise InputError(
                f"the network has {expected} {what} and `data={data.name}` has {given}; "
                "give the data that the network was trained on"
            )


def first_images(data: DataSet, device: torch.device) -> Inputs:
    """A few training images, to find out with whether a network runs."""
    with torch.random.fork_rng(devices=[]):  # workers that decode draw from it
        return next(iter(data.train.batches(EXAMPLES, device=device, limit=EXAMPLES)))[0]


def with_output(
    checkpoint: Checkpoint, images: Inputs, num_labels: int, asked: str | None
) -> Checkpoint:
    """The checkpoint, its network giving the logits that were asked for, or that its file names.

    Raises:
        UsageError: no such output, or one that holds no logits.
        InputError: it cannot be known which of several holds them.
    """
    name = asked if asked is not None else checkpoint.origin.output
    choice = choose_output(checkpoint.model, images, num_labels, name)
    hook_output(checkpoint.model, choice.name)
    origin = replace(checkpoint.origin, output=choice.name)
    return replace(checkpoint, origin=origin, notes=(*checkpoint.notes, *choice.notes))


def check_runs(model: nn.Module, images: Inputs, num_labels: int) -> None:
    """Refuse, before any work, a network that is no classifier of these images.

    Raises:
        InputError: as `require_classifier`, or its weights are not finite.
    """
    check_finite_weights(model)
    require_classifier(model, images, num_labels)


def default_out(model: str) -> Path:
    """Where results go when nobody says: runs/, and the name of the network."""
    return Path("runs") / Path(model.replace(":", "-")).stem
