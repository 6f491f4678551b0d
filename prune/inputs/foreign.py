"""Files that are no weights of torch, named by their content, each with what to do about it.

Only the first bytes, an archive's list of names and the outermost fields of a protocol buffer are
read. What is in no list here stays unnamed: it is damaged, or of a kind that nobody met.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 512
"""Of a file that are looked at: enough for every mark below; a tar archive's stands at 257."""
MAX_OPCODES = 200
"""Of a pickle, until the first class that it names."""
TO_TORCH = "load it in its own library and save the weights as a torch state dict"
AGAIN = "copy or download it again"
UNPACK = "unpack it and give the file inside"

MAGIC: Sequence[tuple[int, bytes, str, str]] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (as Keras writes its weights)", TO_TORCH),
    (4, b"TFL3", "a TensorFlow Lite model", TO_TORCH),
    (0, b"GGUF", "a GGUF file of a language model", "give an image classifier"),
    (0, b"\x93NUMPY", "a NumPy array", "save the weights as a torch state dict"),
    (0, b"\x12\x01\x00\x00\x00\x00\x00\x00", "a file of MXNet weights", TO_TORCH),
    (0, b"ftrt", "a TensorRT engine", "give the network that it was built from"),
    (0, b"ptrt", "a TensorRT engine", "give the network that it was built from"),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x89PNG", "a picture", "give the file of the trained network"),
    (0, b"\xff\xd8\xff", "a picture", "give the file of the trained network"),
    (0, b"%PDF", "a PDF document", "give the file of the trained network"),
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file that it stands for",
        "fetch that with git lfs pull",
    ),
    (
        0,
        b"model_checkpoint_path:",
        "the index of a TensorFlow checkpoint",
        TO_TORCH,
    ),
    (0, b"7767517\n", "an ncnn network", "give the torch network that it was made from"),
)
"""Where a mark stands, the mark, what such a file is, what to do."""
PRINTED = frozenset(bytes(range(32, 127)) + b"\t\n\r")
"""Bytes of ASCII text; weights hold others from the first ones on."""
LEAST_TEXT = 16
"""Bytes; fewer may be printable by chance."""
TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""Last bytes of a LevelDB table: the .index of a TensorFlow checkpoint."""
PICKLE_LIBRARIES = {
    "sklearn": "a scikit-learn model",
    "xgboost": "an XGBoost model",
    "lightgbm": "a LightGBM model",
    "paddle": "a PaddlePaddle network",
    "jax": "JAX weights",
    "flax": "Flax weights",
    "joblib": "a joblib pickle (as of scikit-learn)",
    "keras": "a Keras model",
    "tensorflow": "a TensorFlow model",
}
"""Libraries whose pickles are given by mistake."""


def name_foreign(path: Path) -> str | None:
    """What a file is and what to do, "is ...; expected ...; ...", or None for an unknown content.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile(suffix=".pt") as file:
    ...     _ = file.write(b"<!DOCTYPE html><html>"), file.flush()
    ...     (name_foreign(Path(file.name)) or "")[:20]
    'is a web page (HTML)'
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        found = _by_magic(head) or _by_text(head) or _by_end(file)
        found = found or _by_archive(path, head) or _by_pickle(file, head)
        found = found or _by_protocol_buffer(file)
    if found is None:
        return None
    what, advice = found
    return f"is {what}; expected weights of a torch network; {advice}"


FOLDERS: Sequence[tuple[str, str, str]] = (
    ("saved_model.pb", "a TensorFlow SavedModel", TO_TORCH),
    ("*.ckpt*.index", "a TensorFlow checkpoint", TO_TORCH),
    ("Data/com.apple.CoreML", "a Core ML package", "give the torch network it was made from"),
    (
        "*.distcp",
        "a distributed checkpoint of torch",
        "make one file of it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save",
    ),
    (
        "zero_to_fp32.py",
        "a checkpoint of DeepSpeed",
        "make one file of it with the zero_to_fp32.py in it",
    ),
    ("adapter_config.json", "an adapter (PEFT)", "merge it into its network and save that"),
    ("*.h5", "a folder of HDF5 weights (Keras)", TO_TORCH),
)
"""A file in the folder, what such a folder is, what to do."""


def name_foreign_folder(folder: Path) -> str | None:
    """As `name_foreign`, of a folder."""
    for pattern, what, advice in FOLDERS:
        if next(folder.glob(pattern), None) is not None:
            return f"is {what}; expected weights of a torch network; {advice}"
    return None


Named = tuple[str, str]
"""What a file is, and what to do."""


def _by_magic(head: bytes) -> Named | None:
    for place, mark, what, advice in MAGIC:
        if head[place : place + len(mark)] == mark:
            return what, advice
    return None


def _by_text(head: bytes) -> Named | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (HTML), such as an error or a log-in page saved as a file", AGAIN
    if text.startswith(b"<?xml") and b"<net" in text:
        return "an OpenVINO network", "give the torch network that it was made from"
    if text.startswith((b"<?xml", b"<error")):
        return "XML text, such as a server's error message", AGAIN
    if re.match(rb"[{\[]\s*[\"{\[}\]]", text):
        return "JSON text", "give the file of the weights, or the folder that holds both"
    if len(text) >= LEAST_TEXT and all(byte in PRINTED for byte in head):
        return "plain text", "give the file of the trained network"
    return None


def _by_end(file: BinaryIO) -> Named | None:
    end = file.seek(0, 2)
    file.seek(max(0, end - len(TABLE_END)))
    if file.read() == TABLE_END:
        return "the index of a TensorFlow checkpoint", TO_TORCH
    return None


def _by_archive(path: Path, head: bytes) -> Named | None:
    if not head.startswith(b"PK"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "data.pkl" in inner:  # torch's own
        return None
    if "model.weights.h5" in inner:
        return "a Keras model", TO_TORCH
    if "archive_format" in inner or "serialized_exported_program.json" in inner:
        return (
            "a program of torch.export",
            "give the state dict of the network that was exported",
        )
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays", "save the weights as a torch state dict"
    if "MAR-INF/MANIFEST.json" in inner:
        return "an archive of TorchServe", UNPACK
    if any("com.apple.CoreML" in name for name in names):
        return "a Core ML package", "give the torch network that it was made from"
    first = ", ".join(names[:2])[:80]
    return f"a zip archive without torch weights ({len(names)} files: {first})", UNPACK


def _by_pickle(file: BinaryIO, head: bytes) -> Named | None:
    """The library of the first class that a bare pickle names; nothing is unpickled."""
    if head[:1] != b"\x80":
        return None
    file.seek(0)
    for module in _modules_named(file):
        if what := PICKLE_LIBRARIES.get(module.partition(".")[0]):
            return what, "give an image classifier of torch"
    return None


def _modules_named(file: BinaryIO) -> Iterator[str]:
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > MAX_OPCODES:
                return
            if isinstance(argument, str) and opcode.name in ("GLOBAL", "SHORT_BINUNICODE"):
                yield argument
    except (ValueError, OverflowError, MemoryError, UnicodeError):
        return


def _by_protocol_buffer(file: BinaryIO) -> Named | None:
    """ONNX, TensorFlow, Caffe and Core ML have no mark; their outermost fields tell them."""
    fields = _read_fields(file)
    if not fields:
        return None
    numbers = {number for number, _ in fields}
    first = fields[0]
    if {(7, 2), (8, 2)} <= set(fields) and max(numbers) <= 32:
        return (
            "an ONNX graph, from which no torch network can be built",
            "give the checkpoint that it was exported from",
        )
    if first == (1, 0) and numbers == {1, 2}:
        return "a TensorFlow SavedModel", TO_TORCH
    if first == (1, 0) and any(number >= 200 for number in numbers):
        return "a Core ML model", "give the torch network that it was made from"
    if first == (1, 2) and (100, 2) in fields:
        return "a Caffe network", TO_TORCH
    if first == (1, 2) and {(4, 2)} <= set(fields) and numbers <= {1, 2, 3, 4, 5}:
        return "a frozen TensorFlow graph", TO_TORCH
    return None


MAX_FIELDS = 100_000
"""Outermost fields of a protocol buffer: a TensorFlow graph has one for each of its nodes."""
MAX_FIELD_NUMBER = 5000
"""The largest of the formats above is 3000."""


def _read_fields(file: BinaryIO) -> list[tuple[int, int]]:
    """Number and wire type of the outermost fields; empty for what is no protocol buffer.

    Source: the encoding of Protocol Buffers, protobuf.dev/programming-guides/encoding.
    """
    end = file.seek(0, 2)
    file.seek(0)
    fields: list[tuple[int, int]] = []
    while (place := file.tell()) < end:
        key = _read_varint(file)
        number, wire = (key or 0) >> 3, (key or 0) & 7
        if not 1 <= number <= MAX_FIELD_NUMBER or len(fields) >= MAX_FIELDS:
            return []
        fields.append((number, wire))
        value = _read_varint(file) if wire in (0, 2) else 0
        skip = {0: 0, 1: 8, 2: value, 5: 4}.get(wire)
        if value is None or skip is None or file.tell() + skip > end:
            return []
        file.seek(skip, 1)
        assert file.tell() > place
    return fields


def _read_varint(file: BinaryIO) -> int | None:
    """A number of up to ten bytes with seven bits each, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None
