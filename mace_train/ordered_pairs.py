"""`OrderedPairs`: all pairs of near atoms, in an order that depends on the structure alone.

Floor 0. A search finds pairs in the order of its own boxes. Put in order, those within a
cutoff are the same list whichever larger cutoff they were picked from, so that sums over
them come to the same number, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mace_train.neighbors import near_pairs

_LARGEST_KEY = 2**62
_FEW = 2**20  # so many possible shifts are counted in a table


@dataclass(frozen=True)
class OrderedPairs:
    """Pairs of atoms, each once: by first atom, second atom and shift, ascending.

    The first atom is the one with the lower number. Of an atom and its image, which are a
    pair in two ways, the shift is the one that comes after zero.

    Attributes:
        first: One atom of each pair.
        second: The other one.
        shifts: The different unit shifts that occur, ascending.
        shift: Which of these each pair has: its vector is
            ``positions[second] - positions[first] + shifts[shift] @ cell``.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    shifts: Int[np.ndarray, "different 3"]
    shift: Int[np.ndarray, " pairs"]

    @classmethod
    def search(
        cls,
        positions: Float[np.ndarray, "nodes 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        *,
        r_max: float,
    ) -> OrderedPairs:
        """Find all pairs closer than a cutoff; see `neighbor_list`."""
        (first, second), shifts = near_pairs(positions, cell, pbc, r_max=r_max)
        turned = first > second
        images = np.flatnonzero(first == second)
        turned[images] = _come_before_zero(shifts[images])
        first, second = np.where(turned, second, first), np.where(turned, first, second)
        shifts = shifts * np.where(turned, -1, 1)[:, None]
        different, shift = _numbered(shifts)
        num_nodes, num_shifts = len(positions), len(different)
        pair = first * num_nodes + second  # far below 2^62
        if num_nodes**2 * num_shifts < _LARGEST_KEY:
            order = np.argsort(pair * num_shifts + shift)
        else:
            order = np.lexsort((shift, pair))
        return cls(first[order], second[order], different, shift[order])

    def __len__(self) -> int:
        return len(self.first)

    def moved(self, jumps: Int[np.ndarray, "nodes 3"]) -> OrderedPairs:
        """The same pairs after atoms moved by whole cell vectors; so is their order."""
        shifts = self.shifts[self.shift] + jumps[self.first] - jumps[self.second]
        different, shift = _numbered(shifts)
        return replace(self, shifts=different, shift=shift)

    def squared_lengths(
        self, positions: Float[np.ndarray, "nodes 3"], cell: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, " pairs"]:
        """Squares of the distances, Å^2; each is the same number whatever is beside it."""
        total = np.zeros(len(self))
        for coordinate, lattice in zip(positions.T.copy(), cell.T):
            # Written out: a matrix product may sum in an order that depends on its size.
            x, y, z = (column * length for column, length in zip(self.shifts.T, lattice))
            vector = coordinate.take(self.second)
            vector -= coordinate.take(self.first)
            vector += (x + y + z).take(self.shift)
            vector *= vector
            total += vector
        return total

    def edges(
        self, pairs: Int[np.ndarray, " kept"]
    ) -> tuple[Int[np.ndarray, "2 edges"], Int[np.ndarray, "edges 3"]]:
        """Both directions of some pairs in turn, and their unit shifts."""
        edge_index = np.empty((2, 2 * len(pairs)), np.int64)
        edge_index[0, ::2] = edge_index[1, 1::2] = self.first.take(pairs)
        edge_index[1, ::2] = edge_index[0, 1::2] = self.second.take(pairs)
        shifts = np.stack([self.shifts, -self.shifts], axis=1)
        return edge_index, shifts.take(self.shift.take(pairs), axis=0).reshape(-1, 3)


def _come_before_zero(shifts: Int[np.ndarray, "images 3"]) -> np.ndarray:
    x, y, z = shifts.T
    return (x < 0) | ((x == 0) & ((y < 0) | ((y == 0) & (z < 0))))


def _numbered(
    rows: Int[np.ndarray, "pairs 3"],
) -> tuple[Int[np.ndarray, "different 3"], Int[np.ndarray, " pairs"]]:
    """The different rows, ascending, and which of them each row is."""
    columns = rows.T.copy()
    low = columns.min(axis=1, initial=0)
    sizes = tuple((columns.max(axis=1, initial=0) - low + 1).tolist())
    if np.prod(sizes, dtype=float) >= _FEW:  # atoms that are many cells apart
        different, number = np.unique(rows, axis=0, return_inverse=True)
        return different, number.reshape(-1)
    code = np.ravel_multi_index(tuple(columns - low[:, None]), sizes)
    occurs = np.bincount(code, minlength=int(np.prod(sizes))) > 0
    found = np.stack(np.unravel_index(np.flatnonzero(occurs), sizes), axis=1) + low
    place = np.cumsum(occurs) - 1
    return found.astype(np.int64), place[code]
