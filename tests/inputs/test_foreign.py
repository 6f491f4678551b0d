"""Files of other programs are named by their content, with what to do; only damage is damage."""

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.foreign import TABLE_END, name_foreign
from torch import nn

Write = Callable[[Path], object]


def zipped(*names: str) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


def holds(contents: bytes) -> Write:
    return lambda path: path.write_bytes(contents)


def saved(write: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    write(buffer, np.zeros(2))
    return buffer.getvalue()


def field(number: int, payload: bytes | int) -> bytes:
    """One field of a protocol buffer: a small number, or bytes."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_onnx(path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["x2"])], "g", [value], [value])
    onnx.save(helper.make_model(graph), path)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.pt"), io.BytesIO())


def write_sklearn(path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    path.write_bytes(pickle.dumps(LinearRegression()))


def write_export(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path)


FILES: list[tuple[str, Write]] = [
    ("an ONNX graph", write_onnx),
    ("an HDF5 file", holds(b"\x89HDF\r\n\x1a\n" + bytes(99))),
    ("a Keras model", zipped("metadata.json", "config.json", "model.weights.h5")),
    ("a TensorFlow SavedModel", holds(field(1, 1) + field(2, bytes(300)))),
    (
        "a frozen TensorFlow graph",
        holds(field(1, b"node") + field(1, bytes(200)) + field(4, b"\x08\x01")),
    ),
    (
        "the index of a TensorFlow checkpoint",
        holds(bytes(40) + TABLE_END),
    ),
    ("a TensorFlow Lite model", holds(b"\x1c\0\0\0TFL3" + bytes(60))),
    ("a Core ML model", holds(field(1, 4) + field(2, b"text") + field(500, bytes(150)))),
    ("a Caffe network", holds(field(1, b"net") + field(100, bytes(150)))),
    ("a scikit-learn model", write_sklearn),
    ("an archive of NumPy arrays", holds(saved(np.savez))),
    ("a NumPy array", holds(saved(np.save))),
    ("a program of torch.export", write_export),
    ("a tar archive", write_tar),
    ("a gzip archive", holds(gzip.compress(b"x"))),
    ("a zip archive without torch weights", zipped("readme.txt")),
    (
        "a pointer of Git LFS",
        holds(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n"),
    ),
    ("a web page", holds(b"\n<!DOCTYPE html><html><body>404</body></html>")),
    ("JSON text", holds(b'{"message": "Not Found"}')),
    ("a picture", holds(b"\x89PNG\r\n\x1a\n" + bytes(50))),
]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("what", "write"), FILES, ids=[what for what, _ in FILES])
def test_a_file_of_another_program_is_named(
    what: str, write: Write, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"m{suffix}"
    write(path)
    with pytest.raises(InputError, match=f"is {what}.*; expected weights of a torch") as caught:
        load_checkpoint(str(path))
    assert "damaged" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 250


def test_weights_and_noise_have_no_other_name(tmp_path: Path) -> None:
    path = tmp_path / "m"
    network = nn.Linear(200, 200)
    for is_zip in (True, False):
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=is_zip)
        assert name_foreign(path) is None
        path.write_bytes(path.read_bytes()[:20_000])
        assert name_foreign(path) is None
        with pytest.raises(InputError, match="damaged"):
            load_checkpoint(str(path))
    generator = np.random.default_rng(0)
    for size in (1, 2, 9, 600):
        for _ in range(50):
            path.write_bytes(generator.bytes(size))
            assert name_foreign(path) is None


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("saved_model.pb", "a TensorFlow SavedModel"),
        ("model.ckpt-7.index", "a TensorFlow checkpoint"),
        ("__0_0.distcp", "a distributed checkpoint of torch"),
        ("zero_to_fp32.py", "a checkpoint of DeepSpeed"),
        ("adapter_config.json", "an adapter"),
    ],
)
def test_a_folder_of_another_program_is_named(file: str, what: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(InputError, match=f"is {what}.*; expected weights of a torch network"):
        load_checkpoint(str(tmp_path))


def test_one_process_s_part_of_the_weights_is_told(tmp_path: Path) -> None:
    torch.save({"module": {"a.weight": torch.zeros(0)}}, tmp_path / "z.pt")
    with pytest.raises(InputError, match="names of weights without values"):
        load_checkpoint(str(tmp_path / "z.pt"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "model-00001-of-00002.bin")
    with pytest.raises(InputError, match="is one of 2 files that hold a network together"):
        load_checkpoint(str(tmp_path / "model-00001-of-00002.bin"))


def test_plain_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("the weights are on the other disk\n")
    assert (name_foreign(tmp_path / "notes.pt") or "").startswith("is plain text; expected weights")
