"""Choices that a seed decides: orders of a pass, what is held out, and torch's own randomness.

Shapes: N images, K labels, M images taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def choose_order(num_images: int, shuffle_seed: int | None, limit: int | None) -> Tensor:
    """Which images a pass visits, in its order: (M,) int64."""
    part = num_images if limit is None else min(limit, num_images)
    if shuffle_seed is None and part == num_images:
        return torch.arange(num_images)
    chosen = torch.randperm(num_images, generator=generator(shuffle_seed or 0))[:part]
    return chosen if shuffle_seed is not None else chosen.sort().values


def hold_out(labels_N: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split positions into (kept, held out), each label in proportion, both ascending.

    Every label with at least two images and a positive share gives at least one. Of labels (N, K)
    of 0 and 1 a share of all images is drawn, and one more for each label that has none yet.
    """
    if labels_N.ndim == 2:
        return _hold_out_rows(labels_N, share, seed)
    held: list[Tensor] = []
    randomness = generator(seed)
    for label in torch.unique(labels_N):
        positions = (labels_N == label).nonzero().flatten()
        count = min(max(1, round(share * len(positions))), len(positions) - 1) if share > 0 else 0
        held.append(positions[torch.randperm(len(positions), generator=randomness)[:count]])
    held_out = torch.cat(held).sort().values if held else torch.empty(0, dtype=torch.int64)
    is_kept = torch.ones(len(labels_N), dtype=torch.bool)
    is_kept[held_out] = False
    return is_kept.nonzero().flatten(), held_out


def _hold_out_rows(labels_NK: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """The same for images of any number of labels."""
    num_images = len(labels_NK)
    order = torch.randperm(num_images, generator=generator(seed))
    count = min(max(1, round(share * num_images)), num_images - 1) if share > 0 else 0
    is_held = torch.zeros(num_images, dtype=torch.bool)
    is_held[order[:count]] = True
    for label_N in labels_NK.T if count else ():
        bearers = order[label_N[order] == 1]
        if len(bearers) > 1 and not is_held[bearers].any():
            is_held[bearers[0]] = True
    return (~is_held).nonzero().flatten(), is_held.nonzero().flatten()


def generator(seed: int) -> torch.Generator:
    """A fresh source of randomness on the CPU."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """What draws from torch's own generators in the block (new weights, dropout) follows the seed.

    The caller's generators, of the CPU and of the device, are then as they were before.
    """
    place = torch.device(device)
    devices = [place] if place.type == "cuda" else []
    mps_state = torch.mps.get_rng_state() if place.type == "mps" else None
    try:
        with torch.random.fork_rng(devices=devices):
            # Not torch.manual_seed: it would also seed the generators of all other devices.
            torch.default_generator.manual_seed(seed)
            if place.type == "cuda":
                with torch.cuda.device(place):
                    torch.cuda.manual_seed(seed)
            elif place.type == "mps":
                torch.mps.manual_seed(seed)
            yield
    finally:
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
