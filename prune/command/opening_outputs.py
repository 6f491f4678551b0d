"""What a job on a network that is judged by its outputs starts with: pictures without labels, or
the user's own loaders, and the network or the part of it that is pruned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from ..inputs.callables import Name, Trusted
from ..inputs.checkpoint import Checkpoint
from ..inputs.data import call_for_data, names_code, open_data
from ..inputs.datasets import unpack, wrap_unlabeled
from ..inputs.items import ItemReader
from ..inputs.preprocessing import Preprocessing
from ..inputs.recorded import data_of_part, recorder_of, require_part
from ..inputs.split import DataSet, Source
from ..inputs.unjudged import read_inputs
from ..job.by_outputs import JUDGED, WITHOUT_LABELS, WholeAndPart, case_by_outputs
from ..options import DataOptions, Settings
from ..progress import RunLog
from ..settling.opened import Opened
from ..settling.scale import is_open
from ..settling.size import settle_size
from ..settling.unlabeled import settle_scale_by_drift
from ..structure.finite import check_finite_weights
from .feeding import feeding, sourced
from .opening import Loaded, first_images, name_data
from .said import tell, tell_folder, tell_inputs
from .trees import Job
from .user_metric import open_metric

NO_LABEL = ("",)
"""The one name in a data set whose labels nobody reads."""
NORMALISES = Source("pixels from 0 to 1: the network normalises them itself, by its transform")
"""Of torchvision's detectors."""
RANKED_WITHOUT = (
    f"filters are ranked by {WITHOUT_LABELS[0]}: the mechanism, which is the default, needs labels"
)


@dataclass(frozen=True, eq=False)
class OpenedByOutputs:
    """A network, or a part of one, with its data.

    Attributes:
        checkpoint: the whole network, with what has to be said.
        data: as the whole network is given them.
    """

    checkpoint: Checkpoint
    data: DataSet
    subject: WholeAndPart


def open_by_outputs(
    options: Job, loaded: Loaded, log: RunLog, notes: Sequence[str] = ()
) -> OpenedByOutputs:
    """The network or its part, in the case that it is in; what is fed is told on stderr.

    Args:
        notes: what was said of the network already.

    Raises:
        UsageError: no data, a part that there is not, or a metric that cannot be called.
        InputError: data or network cannot be used.
    """
    checkpoint, device = loaded.checkpoint.noting(*notes), loaded.device
    model, images = checkpoint.model, options.data
    check_finite_weights(model)
    if options.part:
        require_part(model, options.part)
    with log.stage("open the data"):
        spec = name_data(options.network, images, checkpoint)
        found, test = open_inputs(spec, images, options.run.seed, checkpoint)
        metric = None if options.metric is None else open_metric(options.metric, test)
        opened = _at_fitting_size(Opened(checkpoint, found, device), spec, images, options)
    tell_folder(spec, opened.data, is_given=images.data is not None)
    with log.stage("settle the inputs"):
        opened = _with_scale(opened, images)
    data = replace(opened.data, labels=NO_LABEL, unlabeled=False, multi_label=False)
    tell_inputs(data)
    checkpoint = opened.checkpoint.noting(*data.notes, JUDGED)
    checkpoint = checkpoint.noting(*[RANKED_WITHOUT] * (options.select.rank == "mechanism"))
    seen = data
    if options.part:
        recorder = recorder_of(model, options.part, first_images(data, device))
        seen, checkpoint = data_of_part(data, recorder), checkpoint.noting(*recorder.notes)
    tell(checkpoint.notes)
    network = model.get_submodule(options.part or "")
    case = case_by_outputs(network, seen, device, options.run.seed, log)
    return OpenedByOutputs(checkpoint, data, WholeAndPart(case, model, options.part, metric))


def settings_by_outputs(options: Job) -> Settings:
    """How the job is done, with the ranking that needs no labels in place of the default one."""
    select = options.select
    if select.rank == "mechanism":
        select = replace(select, rank=WITHOUT_LABELS[0])
    return replace(options.settings, select=select)


def open_inputs(
    spec: Name, images: DataOptions, seed: int, checkpoint: Checkpoint, *, in_memory: bool = False
) -> tuple[DataSet, DataLoader[Any] | None]:
    """The data of that name without their labels, and the user's own loader of the test part.

    A callable that returns loaders is read as `compress` reads them: what comes first in their
    batches is the network's input, in whatever form it takes it. All else is pictures.

    Args:
        in_memory: as in `open_data`.

    Raises:
        InputError: the data cannot be used.
    """
    fed = feeding(images, checkpoint)
    if isinstance(spec, Trusted) and names_code(spec):
        returned = call_for_data(spec, fed["input_size"], seed)
        if isinstance(returned, DataSet):
            return returned, None
        train, test = unpack(returned, str(spec))
        if isinstance(train, DataLoader) and isinstance(test, DataLoader):
            reader = ItemReader.of(checkpoint.model)
            data = read_inputs(train, None, seed, reader, test=test, share=images.held_out)
            return replace(data, name=str(spec)), test
        wanted = Preprocessing.of(*(fed[x] for x in ("input_size", "mean", "std", "channel_order")))
        data = wrap_unlabeled(str(spec), train, test, wanted, held_out=images.held_out, seed=seed)
        return sourced(data, images, checkpoint), None
    data = open_data(
        spec,
        **fed,
        held_out=images.held_out,
        seed=seed,
        num_labels=1,
        unlabeled=True,
        in_memory=in_memory,
    )
    return sourced(data, images, checkpoint), None


def _with_scale(opened: Opened, images: DataOptions) -> Opened:
    """The same with the mean and std that were given, or that the network is found to expect."""
    data = opened.data
    transform = getattr(opened.checkpoint.model, "transform", None)
    if is_open(opened) and hasattr(transform, "image_mean") and hasattr(transform, "image_std"):
        channels = data.input_size[0]
        scaled = data.scaled((0.0,) * channels, (1.0,) * channels)
        return replace(opened, data=scaled.sourced(scale=NORMALISES))
    return settle_scale_by_drift(opened, images) if data.held_out.num_images else opened


def _at_fitting_size(opened: Opened, spec: Name, images: DataOptions, options: Job) -> Opened:
    """The same; a folder at the size that was asked for, or at which the network runs, decoded
    where it is small."""
    if not Path(str(spec)).is_dir():
        return opened
    sized, source = images, None
    is_open = images.input_size is None and not opened.checkpoint.knows_inputs
    if is_open and opened.data.sources.size.is_guess:
        opened, size, source = settle_size(opened, images, any_outputs=True)
        sized = replace(images, input_size=size)
    data, _ = open_inputs(spec, sized, options.run.seed, opened.checkpoint, in_memory=True)
    return replace(opened, data=data if source is None else data.sourced(size=source))
