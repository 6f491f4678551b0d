"""What the items and batches of a user's own data set hold: inputs of a network, and labels.

(inputs, label)              inputs as one call of the network takes them: a tensor, a tuple of
                             arguments, a dictionary of named ones
(a, b, label)                for a network that needs two arguments
(inputs, label, ...)         for a network of one argument; what follows is not read
{"pixel_values": ..., "labels": ...}     by name; what fits no argument and is no label is not read

Without labels: an item that is a tensor, an array or a picture, or a tuple of one, or a dictionary
of nothing but arguments, has none. Where the user says that there are none, inputs are what comes
first: one part of a tuple, or as many as the network needs; and what fits the arguments by name.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import InputError

INPUT_NAMES = ("pixel_values", "image", "images", "img", "input", "inputs", "x")
LABEL_NAMES = ("labels", "label", "targets", "target", "y")
"""Keys of items that are dictionaries, as Hugging Face and Lightning write them."""


@dataclass(frozen=True)
class ItemReader:
    """How items are read for one network, by the arguments of its forward.

    Attributes:
        names: of all arguments that can be given by name.
        required: those without a default, in their order.
    """

    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    @staticmethod
    def of(model: nn.Module) -> "ItemReader":
        """By the signature of a network's forward; nothing is known of one that hides it."""
        try:
            parameters = inspect.signature(model.forward).parameters.values()
        except (TypeError, ValueError):
            return ItemReader()
        named = [x for x in parameters if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)]
        needed = tuple(x.name for x in named if x.default is x.empty)
        return ItemReader(tuple(x.name for x in named), needed)

    def pair_of(self, item: Any) -> tuple[Any, Any]:
        """Inputs and label of an item or batch.

        Raises:
            InputError: it does not tell.

        >>> ItemReader().pair_of({"label": 3, "image": "a picture"})
        ('a picture', 3)
        >>> ItemReader(("left", "right"), ("left", "right")).pair_of(("a", "b", 3))
        (('a', 'b'), 3)
        """
        if isinstance(item, Mapping):
            return self._named(item)
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise InputError(_unreadable(_kind_of(item)))
        num_inputs = len(self.required)
        if num_inputs > 1 and len(item) > num_inputs:
            return tuple(item[:num_inputs]), item[num_inputs]
        return item[0], item[1]

    def inputs_of(self, item: Any) -> Any:
        """Inputs of an item or batch whose labels, if there are any, are not read.

        Raises:
            InputError: it does not tell.

        >>> ItemReader().inputs_of({"image": "a picture", "name": "a.jpg", "size": 3})
        'a picture'
        >>> ItemReader(("left", "right"), ("left", "right")).inputs_of(("a", "b", 3))
        ('a', 'b')
        """
        if isinstance(item, Mapping):
            try:
                return self._named({**item, LABEL_NAMES[0]: None})[0]
            except InputError:  # it asks for labels, too
                raise InputError(_no_inputs(_kind_of(item), self.names)) from None
        if not isinstance(item, tuple | list):
            return item
        num_inputs = max(1, len(self.required))
        if num_inputs > 1 and item and isinstance(item[0], tuple | list):
            item = item[0]  # ((a, b), label)
        if len(item) < num_inputs:
            raise InputError(_no_inputs(_kind_of(item), self.required))
        return item[0] if num_inputs == 1 else tuple(item[:num_inputs])

    def _named(self, item: Mapping[Any, Any]) -> tuple[Any, Any]:
        """By name: labels by the usual ones or what is left over, inputs by the arguments."""
        labels = [name for name in LABEL_NAMES if name in item]
        inputs = [name for name in self.names if name in item and name not in LABEL_NAMES]
        if not inputs:
            inputs = [name for name in INPUT_NAMES if name in item][:1]
        others = [name for name in item if name not in inputs and name not in labels]
        if not inputs and len(others) == 1 and labels:
            inputs = others
        if inputs and not labels and len(others) == 1:
            labels = others
        missing = [name for name in self.required if name not in inputs]
        if not inputs or not labels or (len(self.required) > 1 and missing):
            raise InputError(_unreadable(_kind_of(item), self.names))
        if len(inputs) == 1 and (len(self.required) < 2 or inputs[0] not in self.names):
            return self._only(inputs[0], item[inputs[0]]), item[labels[0]]
        return {name: item[name] for name in inputs}, item[labels[0]]

    def _only(self, name: str, value: Any) -> Any:
        """One input, by position where it is the first argument or none of that name."""
        by_position = name not in self.names or name == self.names[0]
        return value if by_position else {name: value}


def lacks_label(item: Any, reader: ItemReader) -> bool:
    """Whether an item, or a batch, surely holds inputs alone.

    >>> lacks_label("a picture", ItemReader()), lacks_label(("a picture", 3), ItemReader())
    (True, False)
    """
    if isinstance(item, Mapping):
        known = {*reader.names, *INPUT_NAMES} - {*LABEL_NAMES}
        return bool(item) and all(name in known for name in item)
    return not isinstance(item, tuple | list) or len(item) == 1


def _kind_of(item: Any) -> str:
    if isinstance(item, Mapping):
        return f"a dictionary ({', '.join(map(str, item)) or 'empty'})"
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    return f"a {type(item).__name__}"


def _unreadable(what: str, arguments: tuple[str, ...] = ()) -> str:
    fitting = f" or the network's arguments ({', '.join(arguments)})" if arguments else ""
    return (
        f"a data set whose items are {what} given; expected (input, label), or a dictionary with "
        f"one of {', '.join(INPUT_NAMES)}{fitting} and one of {', '.join(LABEL_NAMES)}; give such "
        "items, or a `collate_fn` that makes them"
    )


def _no_inputs(what: str, arguments: tuple[str, ...]) -> str:
    named = f" ({', '.join(arguments)})" if arguments else ""
    return (
        f"a data set whose items are {what} given; expected the inputs of the network first, or "
        f"under the names of its arguments{named} or one of {', '.join(INPUT_NAMES)}; give such "
        "items, or a `collate_fn` that makes them"
    )


def inputs_in_words(inputs: Any) -> str:
    """What was given as inputs, for a message.

    >>> inputs_in_words(["a", "b"])
    'a list of str'
    """
    if isinstance(inputs, Mapping):
        return f"a dictionary ({', '.join(map(str, inputs))}) of " + _types(inputs.values())
    if isinstance(inputs, tuple | list):
        return f"a {type(inputs).__name__} of " + _types(inputs)
    return f"a {type(inputs).__name__}"


def _types(values: Any) -> str:
    kinds = dict.fromkeys("tensors" if isinstance(x, Tensor) else type(x).__name__ for x in values)
    return " and ".join(kinds) or "nothing"
