"""Damage to files, seeded: flipped bits, cuts, numbers of headers, and values that do not belong.

A mutant follows from (kind of file, its number, the seed) alone, so that any of them can be made
again. Structured files are taken apart, one value inside is replaced, and they are put together
again: so the damage passes the first parser and reaches the code behind it.
"""

import copy
import io
import json
import random
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import torch

CANARY = "canary_module"
"""A module in the working folder; importing it is code that a file made run."""
CODE = (
    *(f"{CANARY}:build", f"{CANARY}:build:a=1", "os:system:command=ls", "builtins:exec"),
    *("subprocess:getoutput:cmd=ls", "torch.hub:load"),
)
"""Names of code, to put where a file names an architecture, data or a criterion."""
EVIL: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 10**13),
    *(0.0, -0.5, 1e-320, 1e308, float("inf"), float("nan")),
    *("", "\0", "a\0b", "x" * 300, "\u00e9\u20ac", "\ud800", "a\nb", "../../../etc/passwd", "/"),
    *(*CODE, "vgg6:width=1e9"),
    *("torchvision:vgg16", "timm:hf-hub:x/y", "vgg6:depth=3", "digits", "/dev/zero", "nowhere"),
    *([], {}, [[]], [0, 0, 0], [2, 1], [-1], {"a": 1}, [None], ["a"], [1e9, 1e9, 1e9]),
    [3, 100_000, 100_000],
)
"""Values to put where another stood."""
Place = tuple[Any, ...]
"""Keys and indices that lead to a value inside nested tables and lists."""
LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header."""


def source(kind: str, number: int, seed: int) -> random.Random:
    """The randomness of one mutant."""
    return random.Random(f"{seed}/{kind}/{number}")


def damage(contents: bytes, draw: random.Random) -> bytes:
    """One to three raw changes: bits, cuts, zeros, numbers, repeats."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        contents = draw.choice(RAW)(bytearray(contents), draw)
    return contents


def _flip(contents: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 4, 32))):
        if contents:
            contents[_at(contents, draw)] ^= 1 << draw.randrange(8)
    return bytes(contents)


def _cut(contents: bytearray, draw: random.Random) -> bytes:
    return bytes(contents[: draw.randrange(len(contents) + 1)])


def _number(contents: bytearray, draw: random.Random) -> bytes:
    """A number of 1 to 8 bytes: zero, one, all bits, or the largest of its sign."""
    size, at = draw.choice((1, 2, 4, 8)), _at(contents, draw)
    value = draw.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1)))
    contents[at : at + size] = value.to_bytes(size, draw.choice(("little", "big")))
    return bytes(contents)


def _zero(contents: bytearray, draw: random.Random) -> bytes:
    at, size = _at(contents, draw), draw.choice((1, 16, 256))
    contents[at : at + size] = bytes(len(contents[at : at + size]))
    return bytes(contents)


def _repeat(contents: bytearray, draw: random.Random) -> bytes:
    at, start, size = _at(contents, draw), _at(contents, draw), draw.choice((1, 8, 64))
    contents[at:at] = contents[start : start + size]
    return bytes(contents)


def _noise(contents: bytearray, draw: random.Random) -> bytes:
    at = _at(contents, draw)
    contents[at : at + 16] = draw.randbytes(16)
    return bytes(contents)


def _at(contents: bytearray, draw: random.Random) -> int:
    """A position; headers, which stand first, are hit more often."""
    last = max(1, len(contents))
    return draw.randrange(min(last, 256) if draw.random() < 0.4 else last)


RAW: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    *(_flip, _flip, _cut, _number, _zero, _repeat, _noise),
)


def operate(document: Any, draw: random.Random) -> Any:
    """A copy of nested tables and lists in which one value is replaced, dropped or renamed."""
    document = copy.deepcopy(document)
    places = list(_places(document, ()))
    if not places:
        return draw.choice(EVIL)
    place = draw.choice(places)
    words = [x for x in places if isinstance(_at_place(document, x), str)]
    if words and draw.random() < 0.15:
        *way, last = draw.choice(words)
        _at_place(document, tuple(way))[last] = draw.choice(CODE)
        return document
    if draw.random() < 0.02:
        return draw.choice(EVIL)
    parent = _at_place(document, place[:-1])
    last, action = place[-1], draw.random()
    if action < 0.7:
        parent[last] = _like(parent[last], draw)
    elif action < 0.85:
        del parent[last]
    elif isinstance(parent, dict):
        parent[draw.choice(("", "x" * 300, "\0", "unknown", "layers.0"))] = parent.pop(last)
    else:
        parent.insert(last, copy.deepcopy(parent[last]))
    return document


def _at_place(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def _like(value: Any, draw: random.Random) -> Any:
    """Another value: any, or one of the same type, which comes further."""
    same = [x for x in EVIL if type(x) is type(value)]
    return draw.choice(same if same and draw.random() < 0.5 else EVIL)


def _places(document: Any, at: Place) -> Iterator[Place]:
    steps: Any = ()
    if isinstance(document, dict):
        steps = list(document)
    elif isinstance(document, list):
        steps = range(min(len(document), 8))
    for step in steps:
        yield (*at, step)
        yield from _places(document[step], (*at, step))


def in_json(contents: bytes, draw: random.Random) -> bytes:
    """A JSON file with one value replaced."""
    return json.dumps(operate(json.loads(contents), draw)).encode("utf-8", "surrogatepass")


def in_toml(contents: bytes, draw: random.Random) -> bytes:
    """A TOML file with one value replaced; values that TOML lacks become strings."""
    changed = operate(tomllib.loads(contents.decode()), draw)
    tables = changed if isinstance(changed, dict) else {"x": changed}
    lines = [f"{json.dumps(k)} = {_toml(v)}" for k, v in tables.items() if not isinstance(v, dict)]
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += [f"[{json.dumps(name)}]"]
            lines += [f"{json.dumps(key)} = {_toml(value)}" for key, value in table.items()]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return repr(value).replace("e+", "e")
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return '"none"' if value is None else json.dumps(value)


def in_safetensors(contents: bytes, draw: random.Random) -> bytes:
    """A safetensors file with one value of its header replaced, or of the JSON in its metadata."""
    size = int.from_bytes(contents[:LENGTH_BYTES], "little")
    header = json.loads(contents[LENGTH_BYTES : LENGTH_BYTES + size])
    metadata = header.get("__metadata__", {})
    nested = [key for key, value in metadata.items() if value.startswith(("{", "["))]
    if nested and draw.random() < 0.7:
        key = draw.choice(nested)
        metadata[key] = json.dumps(operate(json.loads(metadata[key]), draw))
    elif draw.random() < 0.3:
        metadata = operate(metadata, draw)
    else:
        header = operate(header, draw)
    if isinstance(header, dict) and "__metadata__" in header:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + contents[LENGTH_BYTES + size :]


def in_torch(contents: bytes, draw: random.Random) -> bytes:
    """A file of `torch.save` with one of its plain values or tensors replaced."""
    values = operate(torch.load(io.BytesIO(contents), weights_only=True), draw)
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()
