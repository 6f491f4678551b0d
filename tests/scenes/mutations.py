"""Documents and bytes that were damaged at random, and what reads them."""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prune_dl.prune.errors import InputError, PruneError, UsageError

WORDS: list[Any] = [
    None, True, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, math.inf, math.nan, "", "x", "a\0b",
    "x" * 300, "\udce9", "../../x", "/dev/zero", "os:system", [], [None], {}, [[1]], {"a": {}},
    [3, 1, 2], [1, 1], "1", [0.5, "x"], {"": 0}, "kept:0:x", [-1],
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within plain values."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)) and value[key]:
            yield from places(value[key])


def mutate(document: Any, chance: random.Random) -> Any:
    """A copy in which one to three values are others, gone, doubled or under another name."""
    changed = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        found = list(places(changed))
        if not found:
            break
        box, key = chance.choice(found)
        kind = chance.random()
        if kind < 0.6:
            box[key] = copy.deepcopy(chance.choice(WORDS))
        elif kind < 0.75:
            del box[key]
        elif isinstance(box, dict):
            box[chance.choice(["x", "", "num_labels", "kept", "name"])] = box[key]
        else:
            box.insert(key, copy.deepcopy(chance.choice([box[key], *WORDS])))
    return changed


def damage(contents: bytes, chance: random.Random) -> bytes:
    """Bytes that were cut off, changed or put in."""
    place = chance.randrange(max(1, len(contents)))
    kind = chance.randrange(4)
    if kind == 0:
        return contents[:place]
    noise = bytes(chance.randrange(256) for _ in range(chance.choice([1, 1, 4, 20])))
    deep = chance.choice([b"[" * 20000, b'{"a":' * 20000, b"1e400", b"NaN", b"\x00", b"\xff\xfe"])
    return contents[:place] + (deep if kind == 1 else noise) + contents[place + 2 * (kind == 2) :]


def survives(read: Callable[[], Any]) -> bool:
    """Whether a value came out; a `PruneError` of one line may come out too, nothing else."""
    refused: PruneError | None = None
    try:
        read()
    except PruneError as error:
        refused = error
    assert refused is None or "\n" not in str(refused).strip()
    assert type(refused) in (InputError, UsageError, type(None)), repr(refused)
    return refused is None


def check(document: Any, write: Callable[[Any], Callable[[], Any]], count: int) -> None:
    """Read so many mutants; the good document itself must be readable."""
    assert survives(write(document))
    chance = random.Random(0)
    came_out = [survives(write(mutate(document, chance))) for _ in range(count)]
    assert not all(came_out), "no mutant was refused"


def json_reader(path: Path, read: Callable[[], Any]) -> Callable[[Any], Callable[[], Any]]:
    def write(document: Any) -> Callable[[], Any]:
        path.write_text(json.dumps(document))
        return read

    return write
