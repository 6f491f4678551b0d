"""`prune-dl train`: phase 1 of the mechanism, a network trained to its best success rate."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ...evaluate.measure.accuracy import measure_score
from ..errors import UsageError
from ..folder import check_writable, state_beside
from ..inputs.callables import Trusted
from ..inputs.checkpoint import save_checkpoint
from ..inputs.data import open_data
from ..inputs.identity import data_facts
from ..inputs.label_order import number_labels
from ..inputs.origin import Origin
from ..inputs.split import DataSet
from ..inputs.zoo import build, with_channels
from ..job.stages import recipe_changes
from ..lock import only_writer
from ..tracking.tracker import Tracker
from ..training.device import pick_device
from ..training.recipe import Training
from ..training.train import Journal, TrainingData, train_network
from .opening import check_runs, first_images
from .run_log import log_of, stages_of
from .said import input_document, tell, tell_folder, tell_inputs
from .tracking import tracking
from .trees import Train

DEFAULT_DATA = "digits"


def run_train(options: Train) -> dict[str, Any]:
    """Train, save the checkpoint with its data's name, and measure the test part once.

    A training that is interrupted, or fails, leaves `OUT.resume`, from which `--resume` goes on.

    Raises:
        UsageError: the file exists, is being written, or there is nothing to resume.
        InputError: the state belongs to another training, or a file cannot be used.
    """
    out = options.run.out or Path(f"{options.arch.replace(':', '-')}.pt")
    with only_writer(out):
        check_writable(out)
        with (
            state_beside(out, resume=options.run.resume) as state,
            tracking(options.track, out.with_suffix("")) as tracker,
        ):
            return _train_to(out, state, options, tracker)


def _train_to(out: Path, state: Path, options: Train, tracker: Tracker | None) -> dict[str, Any]:
    """Train and write `out`; what is finished on the way is kept in `state`."""
    device = pick_device(options.run.device)
    rows_file = out.with_name(f"{out.stem}.metrics.jsonl")
    rows_file.unlink(missing_ok=True)  # the state has the rows of the epochs that are done
    log = log_of(options.run, stages_of(options), rows_file, tracker)
    with log.stage("load"):
        data = _open(options)
        arch = with_channels(Trusted(options.arch), data.input_size[0])
        model = build(arch, len(data.labels), seed=options.run.seed)
        tell(check_runs(model, data, first_images(data, torch.device("cpu"))))
    training = replace(
        Training(epochs=options.train.epochs), **recipe_changes(options.train, options.run.seed)
    )
    belongs_to = {"`arch`": str(arch), **data_facts(data), "`held_out`": options.data.held_out}
    rows: list[dict[str, Any]] = []

    def past(row: dict[str, Any]) -> None:
        rows.append(row)
        log.log({"stage": "train", **row})

    def note(row: dict[str, Any]) -> None:
        past(row)
        log.epoch(row, training.epochs)

    with log.stage("train") as progress:
        model = train_network(
            model,
            TrainingData(data.train, data.held_out),
            training,
            device=device,
            journal=Journal(progress, note, state, belongs_to, past=past),
        )
    with log.stage("evaluate") as progress:
        accuracy = measure_score(model, data.test, device=device, progress=progress)
    log.log({"stage": "final", f"test_{accuracy.key}": accuracy.value, "images": accuracy.total})
    save_checkpoint(out, model, _origin(str(arch), data))
    return {
        "file": str(out),
        "arch": str(arch),
        "data": data.name,
        "input": input_document(data),
        "epochs": training.epochs,
        f"test_{accuracy.key}": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "seconds": round(log.seconds["train"], 1),
        "recipe": asdict(training),
        "history": rows,
    }


def _origin(arch: str, data: DataSet) -> Origin:
    """What a later command has to know of the network."""
    return Origin(
        arch=arch,
        num_labels=len(data.labels),
        data=data.name,
        labels=data.labels,
        input_size=data.input_size,
        mean=data.mean,
        std=data.std,
        channel_order=data.channel_order,
    )


def _open(options: Train) -> DataSet:
    if options.data.unlabeled:
        raise UsageError(
            "`unlabeled` given for a training, which learns from labels; leave it out, or prune a "
            "trained network"
        )
    # The word of nobody: a folder of that name is not meant.
    spec = Trusted(options.data.data) if options.data.data else DEFAULT_DATA
    data = open_data(
        spec,
        input_size=options.data.input_size,
        mean=options.data.mean,
        std=options.data.std,
        channel_order=options.data.channel_order,
        held_out=options.data.held_out,
        seed=options.run.seed,
    )
    tell_folder(spec, data, is_given=True)
    tell_inputs(data)
    return number_labels(data, options.data)
