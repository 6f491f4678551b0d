"""Inputs of graphs by other tools: nothing is allocated before its size is known to be sane."""

from types import SimpleNamespace
from typing import Any

import pytest
from prune_dl.evaluate.measure.feeds import make_feed
from prune_dl.prune.errors import InputError, UsageError


def graph(*shapes: list[Any], kind: str = "tensor(float)") -> Any:
    """What `make_feed` reads of a session."""
    entries = [SimpleNamespace(name=f"x{i}", shape=x, type=kind) for i, x in enumerate(shapes)]
    return SimpleNamespace(get_inputs=lambda: entries)


@pytest.mark.parametrize(
    ("session", "size"),
    [
        (graph([1, 3, 10**13]), None),
        (graph([1, 10**18, 10**18]), None),
        (graph(["N", 3, 10**6, 10**6]), None),
        (graph(["N", 3, "H", "W"]), (3, 10**6, 10**6)),
        (graph(*[[1, 3, 4096, 4096]] * 3), None),
        (graph([1, 10**12], kind="tensor(uint8)"), None),
    ],
)
def test_an_input_beyond_reason_is_refused_before_it_is_made(session: Any, size: Any) -> None:
    with pytest.raises(InputError, match=r"numbers given, .* GiB in all; expected at most 0.5 GiB"):
        make_feed(session, 1, size)


def test_a_usual_input_is_made() -> None:
    feed = make_feed(graph(["N", 3, "H", "W"]), 2, (3, 32, 32))
    assert feed["x0"].shape == (2, 3, 32, 32)


def test_sizes_that_no_session_knows_are_asked_for() -> None:
    with pytest.raises(UsageError, match="leaves sizes open"):
        make_feed(graph([1, None]), 1)
