"""Long tests that attack the product: mutated inputs, failing disks, kills, closed sockets.

Each is seeded and bounded; an environment variable says how much of it is done.
"""

import os


def amount(variable: str, default: int) -> int:
    """How many cases a harness does: its environment variable, or a modest number."""
    return int(os.environ.get(variable, default))
