"""Names of tensors in a file against those of an architecture: what wrappers added is found, not
listed.

A wrapper puts its own words before every name (`module.`, `_orig_mod.`, `backbone.`, `student.`),
or in the middle where it wraps one part (`encoder._orig_mod.weight`). An architecture knows its own
names, so whatever stands before them in the file is such a prefix. What is then left over belongs
to no layer (weights of a loss, buffers of a metric, counters) or is another network's, or else the
file is of another architecture.

    E   the architecture's names        F   the file's names
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

Shapes = Mapping[str, tuple[int, ...]]

COUNTERS = "num_batches_tracked"
"""Buffers that no network needs to answer."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that serve training from scratch only."""
BESIDE = frozenset(
    (
        *("loss", "losses", "criterion", "criteria", "metric", "metrics", "discriminator"),
        *("perceptual", "lpips", "optimizer"),
        *("teacher", "target", "momentum", "ema", "swa", "averaged", "shadow"),
    )
)
"""Words of what a training keeps beside its network; layers under such a name are not its own."""
NEAREST_PREFIXES = 3
"""Prefixes that are compared where none fits: those that most of the architecture's names have."""


@dataclass(frozen=True)
class Naming:
    """One way to find an architecture's tensors in a file.

    Attributes:
        names: E -> F, for those that are there.
        prefix: what stands before all of them in the file, "" for nothing; None where every part
            has another, as of a backbone and a head.
    """

    names: Mapping[str, str]
    prefix: str | None

    def within(self, name: str) -> str:
        """A name of the file without the prefix; "" for one that does not have it."""
        has_it = self.prefix is not None and name.startswith(self.prefix)
        return name.removeprefix(self.prefix or "") if has_it else ""

    def is_exceeded(self, shapes: Shapes) -> bool:
        """Whether the file goes on where the architecture ends: a fourth block, a second bias."""
        first, own = first_parts(self.names), set(self.names.values())
        return any(
            self.within(name).partition(".")[0] in first for name in shapes if name not in own
        )


@dataclass(frozen=True)
class FileNames:
    """The names in a file, so that an architecture's are found among them quickly."""

    shapes: Shapes

    @cached_property
    def by_ending(self) -> Mapping[str, tuple[str, ...]]:
        """Every ending of a name, from a dot on, and the prefixes that it has in the file."""
        return _by_ending({name: name for name in self.shapes})

    def has(self, name: str) -> bool:
        """Whether any tensor has that name, whatever wrappers put before or into it."""
        return name in self.by_ending or any(_is_within(name, other) for other in self.shapes)

    def namings(self, expected: Collection[str]) -> list[Naming]:
        """Ways to find these names, the most complete ones first.

        All complete ones, by prefix; or else the one that drops words of wrappers in the middle, or
        that finds every part elsewhere; or else the nearest few.
        """
        found = [
            Naming({n: prefix + n for n in expected if prefix + n in self.shapes}, prefix)
            for prefix in _most_common(self.by_ending, expected)
        ]
        complete = [naming for naming in found if len(naming.names) == len(expected)]
        if complete or not found:
            return complete
        others = (self._unwrapped(expected), self._part_by_part(expected))
        return [naming for naming in others if naming] or found[:NEAREST_PREFIXES]

    def _unwrapped(self, expected: Collection[str]) -> Naming | None:
        """With words in the middle of names left out that the architecture does not have."""
        words = {word for name in expected for word in name.split(".")}
        short = {name: _drop_inner(name, words) for name in self.shapes}
        if len(set(short.values())) < len(short):
            return None
        back = {cut: name for name, cut in short.items()}
        for prefix in _most_common(_by_ending(back), expected):
            if all(prefix + name in back for name in expected):
                return Naming({name: back[prefix + name] for name in expected}, prefix)
        return None

    def _part_by_part(self, expected: Collection[str]) -> Naming | None:
        """Each first part of the architecture's names under the usual prefix, or its only one."""
        names: dict[str, str] = {}
        usual = _most_common(self.by_ending, expected)[0]
        for members in _parts(expected).values():
            prefixes = [
                prefix
                for prefix in _most_common(self.by_ending, members)
                if all(prefix + name in self.shapes for name in members)
            ]
            if len(prefixes) != 1 and usual not in prefixes:
                return None
            prefix = usual if usual in prefixes else prefixes[0]
            names |= {name: prefix + name for name in members}
        return Naming(names, None) if len(set(names.values())) == len(names) else None


def _by_ending(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    endings: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        place = 0
        while True:
            endings[name[place:]].append(name[:place])
            place = name.find(".", place) + 1
            if not place:
                break
    return {ending: tuple(prefixes) for ending, prefixes in endings.items()}


def _most_common(by_ending: Mapping[str, tuple[str, ...]], expected: Collection[str]) -> list[str]:
    """Prefixes, first those that most of the names have."""
    counts = Counter(prefix for name in expected for prefix in by_ending.get(name, ()))
    return [prefix for prefix, _ in counts.most_common()]


def _parts(names: Collection[str]) -> dict[str, list[str]]:
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        parts[name.partition(".")[0]].append(name)
    return parts


def _is_within(name: str, longer: str) -> bool:
    """Whether the words of a name stand in a longer one, in their order."""
    rest = iter(longer.split("."))
    return all(word in rest for word in name.split("."))


def _drop_inner(name: str, words: Collection[str]) -> str:
    """A name without the unknown words that follow its first known one."""
    parts = name.split(".")
    start = next((i for i, word in enumerate(parts) if word in words), len(parts))
    return ".".join([*parts[:start], *(word for word in parts[start:] if word in words)])


def first_parts(names: Collection[str]) -> set[str]:
    """What names begin with, up to their first dot."""
    return {name.partition(".")[0] for name in names}


def split_surplus(
    surplus: Collection[str], expected: Collection[str], naming: Naming, shapes: Shapes
) -> tuple[list[str], list[str]]:
    """What a file has beyond an architecture: what contradicts it, and what belongs to no layer.

    Args:
        surplus: F that no naming that fits has taken.
        expected: E.
    """
    first = first_parts(expected)
    layers = set(_layers(surplus, shapes))
    against, beside = [], []
    for name in surplus:
        if naming.within(name).startswith(AUXILIARY):
            beside.append(name)
        elif naming.within(name).partition(".")[0] in first:
            against.append(name)
        else:
            is_layer = name.rpartition(".")[0] in layers and not _is_beside(name)
            (against if is_layer else beside).append(name)
    return against, beside


def _layers(names: Collection[str], shapes: Shapes) -> Iterator[str]:
    """Modules whose tensors have the form of a layer: a matrix of weights, or a norm."""
    owned: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        owner, _, tensor = name.rpartition(".")
        owned[owner].add(tensor)
        if len(shapes[name]) > 1:
            yield owner
    for owner, tensors in owned.items():
        if "running_mean" in tensors or {"weight", "bias"} <= tensors:
            yield owner


def _is_beside(name: str) -> bool:
    return not BESIDE.isdisjoint(words_of(name))


def words_of(name: str) -> list[str]:
    """The words of a tensor's name.

    >>> words_of("model_ema.loss_fn.weight")
    ['model', 'ema', 'loss', 'fn', 'weight']
    """
    return name.lower().replace("_", ".").split(".")
