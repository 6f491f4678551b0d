"""Open whatever the user names as training, held-out and test images.

FOLDER                     ImageFolder layout, with or without train/ and test/ (or val/)
cifar10 cifar100 fashion-mnist     downloaded by torchvision
digits                     scikit-learn's handwritten digits, built in; a folder of images that is
                           called so wins, where the user names it
package.module:callable    returns (train, test) torch data sets, or a DataSet
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checks import unfit_name
from ..errors import InputError, UsageError
from ..options import ChannelOrder
from ..progress import Progress, silent
from .callables import Name, Trusted, call_with, import_callable, is_callable_name
from .datasets import is_bare, unpack, wrap_datasets, wrap_unlabeled
from .folders import Reading, open_image_folder
from .known import KNOWN, open_known
from .listing import holds_images
from .preprocessing import Preprocessing
from .split import DataSet, Split, output_names

__all__ = ["DataSet", "Split", "open_data"]


def open_data(
    spec: Name,
    *,
    input_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    channel_order: ChannelOrder | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    num_labels: int | None = None,
    unlabeled: bool = False,
    in_memory: bool = True,
    progress: Progress = silent,
) -> DataSet:
    """Open a data set.

    Args:
        spec: one of the forms above. A plain `str` counts as the word of a file: it may name a set
            that is on this machine, or the full path of a folder.
        input_size: channels, height, width; height and width; or one number for both. Default: a
            known set's own; that which the images of a folder share, up to 512 pixels a side; else
            224 x 224.
        channels: where `input_size` does not say: 3 for colour images, 1 for grey ones. Default: a
            known set's own; 1 for a folder of grey images, else 3.
        mean, std: per channel, of pixels scaled to 0..1. Default: the usual ones of a known set;
            measured on the training part of small images; else ImageNet's.
        channel_order: bgr feeds blue first, and mean and std are then in this order.
        held_out: share of the training part, of every label, that choices are made on.
        seed: of every split.
        num_labels: outputs of the network that it is for, where they are known: a folder's labels
            may then have no images, or nobody may have sorted its images by label.
        unlabeled: labels are not read, if there are any: the network's own answers will stand in
            their place (`answered.py`).
        in_memory: whether a small folder is decoded at once; else images are decoded when they are
            needed.
        progress: called with (images decoded, images in all).

    Raises:
        UsageError: an argument is out of range.
        InputError: the data cannot be used, or a file names what only the user may name.
    """
    wanted = Preprocessing.of(input_size, mean, std, channel_order)
    if channels is not None and wanted.channels is None:
        wanted = replace(wanted, channels=channels)
    if not 0 <= held_out < 1:
        raise UsageError(f"`held_out={held_out}` given; expected a share from 0 to below 1")
    name, is_trusted = str(spec), isinstance(spec, Trusted)
    if name in KNOWN and not (is_trusted and holds_images(Path(name))):
        known = open_known(name, wanted, held_out=held_out, seed=seed, download=is_trusted)
        return without_labels(known, num_labels) if unlabeled else known
    if isinstance(spec, Trusted) and names_code(spec):
        returned = call_for_data(spec, input_size, seed)
        if isinstance(returned, DataSet):
            return without_labels(returned, num_labels) if unlabeled else returned
        train, test = unpack(returned, name)
        wrap = wrap_unlabeled if unlabeled or is_bare(train) else wrap_datasets
        found = wrap(name, train, test, wanted, held_out=held_out, seed=seed)
        return without_labels(found, num_labels) if wrap is wrap_unlabeled else found
    if not is_trusted:
        check_file_folder(name)
    reading = Reading(in_memory, progress)
    return open_image_folder(
        Path(name),
        wanted,
        held_out=held_out,
        seed=seed,
        num_labels=num_labels,
        unlabeled=unlabeled,
        reading=reading,
    )


def names_code(spec: Name) -> bool:
    """Whether it is a callable of the user's own, and no folder of that name."""
    name = str(spec)
    return isinstance(spec, Trusted) and is_callable_name(name) and not Path(name).exists()


def call_for_data(spec: Trusted, input_size: int | tuple[int, ...] | None, seed: int) -> Any:
    """What the user's callable returns, given those of its arguments that it names.

    Raises:
        InputError: it cannot be imported. UsageError: it has other arguments without a default.
    """
    offered = {"input_size": input_size, "seed": seed}
    return call_with(import_callable(spec), offered, str(spec))


def without_labels(data: DataSet, num_labels: int | None) -> DataSet:
    """The same images for a network of so many outputs, whose answers will be their labels."""
    return replace(data, labels=output_names(num_labels), unlabeled=True, multi_label=False)


def check_file_folder(name: str) -> None:
    """Refuse data that a file names and that are no folder of this machine.

    Raises:
        InputError: code of a module, another machine's folder, or a name without its place.
    """
    if is_callable_name(name):
        raise InputError(
            f"the file names the data {name[:200]}, which runs code of a module; "
            f"if you know it, give `data={name[:200]}`, or `trust_file`"
        )
    if not Path(name).is_absolute() or name.startswith(("//", "\\\\")) or unfit_name(name):
        raise InputError(
            f"the file names the data {name[:200]!r}, which are not on this machine as far as it "
            "says; give `data` with their folder"
        )
