"""How the frames of several sets are mixed into an epoch: ``data.mixing``.

An order is a function of seed and epoch alone, so that a run can go on anywhere, on any
number of ranks. `sampler.py` cuts it into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

from mace_train.data.sampler import EachOnce, Order, permutation

Mixing = Literal["size", "even"]
"""``size``: every frame once an epoch; ``even``: equally many frames of every set."""


class EvenOrder(Order):
    """Equally many frames of every set, in turn: a batch holds the sets evenly too.

    An epoch has as many frames as all sets together. Each set is a stream of shuffles of
    its own, of which every epoch takes the next part: no frame comes again before all
    others of its set have come. A set without frames takes no turn.
    """

    mixing = "even"

    def places(self, epoch: int, *, seed: int) -> Int[np.ndarray, " slots"]:
        """Places of an epoch in the sets one after another, the sets taking turns."""
        taking_part = [number for number, size in enumerate(self.sizes) if size]
        first = np.cumsum([0, *self.sizes])
        places = np.empty(len(self), np.int64)
        for turn, number in enumerate(taking_part):
            slots = places[turn :: len(taking_part)]
            stream = _Stream(self.sizes[number], seed, number)
            slots[:] = first[number] + stream.part(epoch * len(slots), len(slots))
        return places


def make_order(mixing: Mixing, sizes: Sequence[int]) -> Order:
    """The order of frames that ``data.mixing`` asks for.

    Args:
        mixing: How sets are mixed.
        sizes: Frames of each set.

    Raises:
        ValueError: If there are no frames.
    """
    return EachOnce(*sizes) if mixing == "size" else EvenOrder(*sizes)


class _Stream:
    """One shuffle of a set after the other, endlessly."""

    def __init__(self, size: int, seed: int, number: int) -> None:
        self.size, self.seed, self.number = size, seed, number

    def part(self, first: int, count: int) -> np.ndarray:
        """Places ``first`` to ``first + count - 1`` of the stream."""
        begin, end = first // self.size, -(-(first + count) // self.size)
        shuffles = [
            permutation(self.size, self.seed, self.number, shuffle)
            for shuffle in range(begin, end)
        ]
        offset = first - begin * self.size
        return np.concatenate(shuffles)[offset : offset + count]
