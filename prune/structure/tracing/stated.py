"""Sizes that an operation was asked for, and the attributes that the code may have them from.

Which attribute it was cannot be seen from the operation. Candidates are the integers of the running
module (and of modules it names) under names that occur in the code that issued the operation, and
whose value is the size, or a small multiple or fraction of it (`dim // 2`). A trial of the smaller
network then shows whether they are the ones.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, product
from types import CodeType
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ..attributes import sizes_in

STATED_BY_SURGERY = (
    *(_ConvNd, _NormBase, nn.Linear, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU),
    nn.Embedding,
)
"""Modules whose own sizes follow their tensors."""
MAX_CANDIDATES = 4
"""Attributes that are tried for a size: each costs a run of the smaller network."""
MAX_ASSIGNMENTS = 8
"""Ways to give several sizes their attributes that are tried: three sizes from two attributes."""
MAX_PRODUCTS = 64
"""Ways that are looked at: three sizes from four attributes."""
LARGEST_FACTOR = 8
"""Code that takes a multiple or a fraction of an attribute takes a small one: a half, q k v."""


class Candidate(NamedTuple):
    """An attribute that may state a size.

    Attributes:
        name: as `attributes.stated` takes it, after the path of a module inside the running one.
        value: its integer.
    """

    name: str
    value: int


def names_in(kind: type, codes: Iterable[CodeType]) -> frozenset[str]:
    """Names that code uses, also in the methods and properties of the class that it calls."""
    names: set[str] = set()
    left = list(codes)
    seen = set()
    while left:
        code = left.pop()
        if id(code) in seen:
            continue
        seen.add(id(code))
        names.update(code.co_names)
        left += [x for x in code.co_consts if isinstance(x, CodeType)]
        left += [x for name in code.co_names for x in _code_of(getattr(kind, name, None))]
    return frozenset(names)


def _code_of(member: Any) -> list[CodeType]:
    """Code of a method or a property of a class."""
    function = member.fget if isinstance(member, property) else member
    if str(getattr(function, "__module__", "")).startswith("torch."):
        return []
    code = getattr(function, "__code__", None)
    return [code] if isinstance(code, CodeType) else []


def candidates_of(module: nn.Module, names: frozenset[str]) -> tuple[Candidate, ...]:
    """Integers that the code which runs may take from the module or from modules that it names."""
    found = _own(module, names, "")
    for name, child in module.named_children():
        if name in names and not isinstance(child, STATED_BY_SURGERY):
            found += _own(child, names, f"{name}.")
    return tuple(found)


def _own(module: nn.Module, names: frozenset[str], prefix: str) -> list[Candidate]:
    return [
        Candidate(prefix + inner, size)
        for name, value in vars(module).items()
        if name in names
        for inner, size in sizes_in(name, value)
    ]


def matching(
    candidates: Sequence[Candidate], sizes: Sequence[int], index: int
) -> tuple[Candidate, ...]:
    """Candidates for one of the sizes that an operation was asked for, the likeliest first.

    Those inside a list of which more sizes agree (`splits[1]` for the second of three) come first,
    then equal integers, then multiples and fractions.
    """
    value_of = {candidate.name: candidate.value for candidate in candidates}

    def agreeing(candidate: Candidate) -> int:
        stem, bracket, position = candidate.name.rpartition("[")
        if not bracket:
            return 0
        lead = index - int(position[:-1])
        return sum(value_of.get(f"{stem}[{i - lead}]") == x for i, x in enumerate(sizes)) - 1

    def rank(candidate: Candidate) -> tuple[int, int, int]:
        high, low = sorted((candidate.value, sizes[index]), reverse=True)
        factor, inside = high // low, "[" in candidate.name
        return (factor, -agreeing(candidate) if factor == 1 else 0, int(inside))

    fits = [x for x in candidates if _is_multiple(x.value, sizes[index])]
    return tuple(sorted(fits, key=rank)[:MAX_CANDIDATES])


def _is_multiple(value: int, size: int) -> bool:
    """Whether one is the other, or a small multiple of it."""
    high, low = max(value, size), min(value, size)
    return low > 1 and high % low == 0 and high // low <= LARGEST_FACTOR


def assignments(
    candidates: Sequence[Sequence[Candidate]],
) -> list[tuple[Candidate | None, ...]]:
    """One candidate for each of several sizes; the likeliest first.

    Those that take candidates in their order come first: of `split([key, key, value])` with three
    equal sizes, all from `key`, then the last from `value`.
    """
    if not any(candidates):
        return []
    choices = [range(max(len(found), 1)) for found in candidates]
    first = islice(product(*choices), MAX_PRODUCTS)
    ordered = sorted(first, key=lambda x: (list(x) != sorted(x), sum(x)))[:MAX_ASSIGNMENTS]
    return [tuple(f[i] if f else None for f, i in zip(candidates, x, strict=True)) for x in ordered]
