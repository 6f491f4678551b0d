"""What stands beside weights in the folders of timm and Hugging Face: config.json and
preprocessor_config.json.

    config.json (timm)            architecture, num_classes, global_pool, model_args, label_names,
                                  pretrained_cfg: input_size, mean, std, crop_pct, interpolation
    config.json (transformers)    architectures, model_type, id2label
    preprocessor_config.json      image_mean, image_std, size, crop_size, rescale_factor

All of it is data: names reach no importer (`callables`), and options are those that `file_names`
lets files set.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_bytes
from ..typed import from_json
from .origin import Origin, imagenet_mean_std

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
"""Names that both libraries give weights, those without a pickle first."""
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Say which of several files holds which tensor."""
BYTE = 255
USUAL_CROP = 0.875
"""Share of a scaled image that is cropped, as this tool does with large images."""
_PLAIN_FILE = re.compile(r"[\w.\-]+")
_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls labels that nobody named."""


@dataclass(frozen=True)
class Described:
    """What the files beside weights say of a network; None or empty where they say nothing.

    Attributes:
        source: the files, for messages.
        arch: "timm:NAME" with its options.
        transformers: the whole config.json, of an image classifier of transformers.
        global_pool: how timm's network averages its last feature map.
        input_size: channels, height, width. mean, std: per channel, of pixels scaled to 0..1.
        notes: what is said there and not followed.
    """

    source: str
    arch: str | None = None
    transformers: Mapping[str, Any] | None = None
    global_pool: str | None = None
    num_labels: int | None = None
    labels: tuple[str, ...] = ()
    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def says_inputs(self) -> bool:
        """Whether the network's inputs are described."""
        return self.mean is not None and self.std is not None

    def complete(self, origin: Origin) -> Origin:
        """An origin with what is said here.

        Raises:
            InputError: what is said contradicts itself.
        """
        channels = origin.input_size[0]
        height, width = (self.input_size or origin.input_size)[1:]
        mean, std = self.mean or origin.mean, self.std or origin.std
        if len(mean) != channels or len(std) != channels:
            mean, std = origin.mean, origin.std
        labels = self.labels if len(self.labels) == origin.num_labels else ()
        values = replace(
            origin, input_size=(channels, height, width), mean=mean, std=std, labels=labels
        ).to_dict()
        return Origin.from_dict(values, self.source)


def find_parts(folder: Path) -> list[Path]:
    """The files that hold the weights of a folder of timm or Hugging Face; empty for another one.

    Raises:
        InputError: an index names a file that is not in the folder.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
    for name in INDICES:
        if (folder / name).is_file():
            return _indexed(folder, name)
    return []


def _indexed(folder: Path, index: str) -> list[Path]:
    document = from_json(read_bytes(folder / index), dict[str, Any], str(folder / index))
    stated = document.get("weight_map")
    names = sorted(set(map(str, stated.values()))) if isinstance(stated, Mapping) else []
    for name in names or [""]:
        if not _PLAIN_FILE.fullmatch(name) or not (folder / name).is_file():
            raise InputError(
                f"{folder / index} names {name[:200] or 'no files'}, which is not in its folder; "
                "expected all files of the network side by side; copy or download them again"
            )
    return [folder / name for name in names]


def read_described(folder: Path) -> Described | None:
    """What a folder's config.json and preprocessor_config.json say; None where they say nothing.

    Raises:
        InputError: one of them is damaged, or says what cannot be.
    """
    config = _read(folder / CONFIG)
    if config.get("library_name") == "prune-dl":
        return None
    if isinstance(config.get("architecture"), str) and "pretrained_cfg" in config:
        found = _timm(config, str(folder / CONFIG))
    elif _is_classifier(config):
        found = _transformers(config, str(folder / CONFIG))
    else:
        found = Described(str(folder / CONFIG))
    processor = _read(folder / PREPROCESSOR)
    if "image_mean" in processor or "rescale_factor" in processor:
        found = _with_processor(found, processor, str(folder / PREPROCESSOR))
    is_empty = found.arch is None and found.transformers is None and not found.says_inputs
    return None if is_empty else found


def _read(path: Path) -> dict[str, Any]:
    return from_json(read_bytes(path), dict[str, Any], str(path)) if path.is_file() else {}


def _timm(config: Mapping[str, Any], source: str) -> Described:
    stated = config["pretrained_cfg"]
    inputs: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise _unusable(source, "model_args")
    count = config.get("num_classes", inputs.get("num_classes"))
    size = _numbers(inputs.get("input_size"), source, "input_size")
    pool = arguments.get("global_pool", config.get("global_pool"))
    return Described(
        source,
        arch="timm:" + str(config["architecture"]) + _options(arguments, source),
        global_pool=pool if isinstance(pool, str) else None,
        num_labels=count if isinstance(count, int) else None,
        labels=_labels(config.get("label_names") or inputs.get("label_names")),
        input_size=_size(size),
        mean=_numbers(inputs.get("mean"), source, "mean"),
        std=_numbers(inputs.get("std"), source, "std"),
        notes=tuple(_crop_notes(inputs, source)),
    )


NOT_BUILT_WITH = ("num_classes", "global_pool", "drop_rate", "drop_path_rate", "pretrained")
"""Arguments of timm's networks that are given otherwise, or change no answer."""


def _options(arguments: Mapping[str, Any], source: str) -> str:
    """The arguments that build a network, as options of its name; `zoo.build` checks them."""
    options = {}
    for key, value in arguments.items():
        if key in NOT_BUILT_WITH or value is None:
            continue
        if key == "img_size" and isinstance(value, list) and len(set(map(str, value))) == 1:
            value = value[0]
        if not isinstance(value, int | float | str | bool):
            raise _unusable(source, f"model_args.{key}={value}")
        if (key, value) != ("in_chans", 3):
            options["in_channels" if key == "in_chans" else key] = value
    words = [
        f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in sorted(options.items())
    ]
    return ":" + ",".join(words) if words else ""


def _crop_notes(inputs: Mapping[str, Any], source: str) -> list[str]:
    crop = inputs.get("crop_pct")
    if isinstance(crop, float) and abs(crop - USUAL_CROP) > 1e-3:
        return [
            f"{source} says crop_pct={crop:g}: this tool crops {USUAL_CROP} of a scaled image, "
            "so accuracy may differ by a little"
        ]
    return []


def _is_classifier(config: Mapping[str, Any]) -> bool:
    named = config.get("architectures")
    return isinstance(named, list) and any(
        str(name).endswith("ForImageClassification") for name in named
    )


def _transformers(config: Mapping[str, Any], source: str) -> Described:
    labels = _labels(config.get("id2label"))
    count = len(labels) or config.get("num_labels", 2)  # of transformers' PretrainedConfig
    if all(_UNNAMED.fullmatch(label) for label in labels):
        labels = ()
    return Described(source, transformers=dict(config), num_labels=int(count), labels=labels)


def _with_processor(found: Described, values: Mapping[str, Any], source: str) -> Described:
    """Mean and deviation of pixels in 0..1, though the file's are of pixels times a factor."""
    mean = _numbers(values.get("image_mean"), source, "image_mean")
    std = _numbers(values.get("image_std"), source, "image_std")
    if values.get("do_normalize", True) is False or mean is None or std is None:
        mean, std = (0.0,) * 3, (1.0,) * 3
    factor = values.get("rescale_factor", 1 / BYTE) if values.get("do_rescale", True) else 1.0
    if not isinstance(factor, int | float) or not factor > 0:
        raise _unusable(source, f"rescale_factor={factor}")
    scale = BYTE * factor
    if not 0.999 < scale < 1.001:  # the usual 1 / 255, in as many digits as files have
        mean, std = tuple(m / scale for m in mean), tuple(s / scale for s in std)
    size = _processor_size(values.get("crop_size")) or _processor_size(values.get("size"))
    return replace(
        found,
        source=f"{found.source} and {source}" if found.arch or found.transformers else source,
        mean=mean,
        std=std,
        input_size=(len(mean), *size) if size else found.input_size,
    )


def _processor_size(stated: Any) -> tuple[int, int] | None:
    """Height and width, of a number or of height and width or of the shortest edge."""
    if isinstance(stated, Mapping):
        edge = stated.get("shortest_edge")
        stated = (stated.get("height", edge), stated.get("width", edge))
    pair = stated if isinstance(stated, tuple | list) else (stated, stated)
    if len(pair) == 2 and all(type(side) is int and side > 0 for side in pair):
        return pair[0], pair[1]
    return None


def _labels(stated: Any) -> tuple[str, ...]:
    """Label names of a list, or of a dictionary by the number of the output."""
    if isinstance(stated, Mapping):
        numbers = [str(i) for i in range(len(stated))]
        by_number = {str(key): value for key, value in stated.items()}
        stated = [by_number[i] for i in numbers] if set(by_number) == set(numbers) else []
    return tuple(map(str, stated)) if isinstance(stated, list) else ()


def _numbers(stated: Any, source: str, what: str) -> tuple[float, ...] | None:
    if stated is None:
        return None
    if not isinstance(stated, list) or not all(type(x) in (int, float) for x in stated):
        raise _unusable(source, what)
    return tuple(stated)


def _size(stated: tuple[float, ...] | None) -> tuple[int, int, int] | None:
    if stated is None or len(stated) != 3:
        return None
    channels, height, width = map(int, stated)
    return channels, height, width


def _unusable(source: str, what: str) -> InputError:
    return InputError(
        f"{source} says {what[:200]}, which this tool does not follow; "
        "give the file of the weights alone, with `arch`, `mean` and `std`"
    )


def imagenet_unless_said(found: Described, origin: Origin) -> Origin:
    """As `complete`; what a library's folder does not say is ImageNet's, as in that library."""
    mean, std = imagenet_mean_std(3 if origin.input_size[0] == 3 else 1)
    fits = len(mean) == origin.input_size[0]
    return found.complete(replace(origin, mean=mean, std=std) if fits else origin)
