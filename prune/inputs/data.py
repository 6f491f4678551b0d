"""`--data`: open whatever the user names as training, held-out and test images.

FOLDER                     ImageFolder layout, with or without train/ and test/ (or val/)
cifar10 cifar100 fashion-mnist     downloaded by torchvision
digits                     scikit-learn's handwritten digits, built in
package.module:callable    returns (train, test) torch data sets, or a DataSet
"""

from pathlib import Path

from ..errors import UsageError
from ..progress import Progress, silent
from .callables import call_with, import_callable, is_callable_name
from .datasets import unpack, wrap_datasets
from .folders import open_folder
from .known import KNOWN, open_known
from .split import DataSet, Split

__all__ = ["DataSet", "Split", "open_data"]


def open_data(
    spec: str,
    *,
    input_size: int | tuple[int, int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    root: Path | None = None,
    progress: Progress = silent,
) -> DataSet:
    """Open a data set.

    Args:
        spec: one of the forms above.
        input_size: channels, height, width; or one number for height and width. Default: a known
            set's own; a folder's own where all images share one of at most 64 pixels; else
            3 x 224 x 224.
        mean, std: per channel, of pixels scaled to 0..1. Default: the usual ones of a known set;
            measured on the training part of small images; else ImageNet's.
        held_out: share of the training part, of every label, that choices are made on.
        seed: of every split.
        root: folder for downloads; default PRUNE_DL_DATA or the user's cache.
        progress: called with (images decoded, images in all).

    Raises:
        UsageError: a flag that does not fit.
        InputError: the data cannot be used.
    """
    channels: int | None = None
    size: tuple[int, int] | None = None
    if isinstance(input_size, tuple):
        channels, size = input_size[0], input_size[1:]
    elif input_size is not None:
        size = (input_size, input_size)
    _check(channels, size, mean, std, held_out)
    if spec in KNOWN:
        return open_known(
            spec,
            channels=channels,
            size=size,
            mean=mean,
            std=std,
            held_out=held_out,
            seed=seed,
            root=root,
        )
    if is_callable_name(spec) and not Path(spec).exists():
        returned = call_with(import_callable(spec), {"input_size": input_size, "seed": seed}, spec)
        if isinstance(returned, DataSet):
            return returned
        train, test = unpack(returned, spec)
        return wrap_datasets(spec, train, test, mean=mean, std=std, held_out=held_out, seed=seed)
    return open_folder(
        Path(spec),
        channels=channels or 3,
        size=size,
        mean=mean,
        std=std,
        held_out=held_out,
        seed=seed,
        progress=progress,
    )


def _check(
    channels: int | None,
    size: tuple[int, int] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    held_out: float,
) -> None:
    if not 0 <= held_out < 1:
        raise UsageError(f"--held-out {held_out}: expected a share from 0 to below 1")
    if channels not in (None, 1, 3):
        raise UsageError(f"--input-size with {channels} channels: expected 1 or 3")
    if size is not None and min(size) < 1:
        raise UsageError(f"--input-size {size[0]}: expected a number of pixels above 0")
    for flag, values in (("--mean", mean), ("--std", std)):
        if values is not None and len(values) not in ((channels,) if channels else (1, 3)):
            raise UsageError(f"{flag} has {len(values)} values; give one for every channel")
    if std is not None and min(std) <= 0:
        raise UsageError(f"--std {min(std)}: expected values above 0")
