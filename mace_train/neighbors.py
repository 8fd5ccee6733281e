"""Neighbor lists under any periodic boundary conditions.

Floor 0: vesin finds the pairs. Everything that looks at more than one atom (graphs, edge
counts in shards, the calculator) starts here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from vesin import NeighborList as VesinNeighborList

_FLAT = 1e-6  # Å; periodic vectors span less than their number of directions below this


@dataclass(frozen=True)
class Neighbors:
    """Directed edges sender -> receiver; each pair appears in both directions.

    Attributes:
        edge_index: Row 0 the sender, row 1 the receiver; edges 2k and 2k + 1 are the two
            directions of a pair.
        unit_shifts: Cell vectors each edge crosses: its vector is
            ``positions[receiver] - positions[sender] + unit_shifts @ cell``.
    """

    edge_index: Int[np.ndarray, "2 edges"]
    unit_shifts: Int[np.ndarray, "edges 3"]


def neighbor_list(
    positions: Float[np.ndarray, "nodes 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: tuple[bool, bool, bool] | np.ndarray,
    *,
    r_max: float,
) -> Neighbors:
    """Find all pairs closer than a cutoff, periodic images included.

    Args:
        positions: Cartesian positions in Å; atoms need not lie inside the cell.
        cell: Lattice vectors in rows, Å; zero rows are allowed where ``pbc`` is False.
        pbc: Which lattice vectors are periodic.
        r_max: Cutoff in Å; pairs with a distance below it are returned, an atom's own
            periodic images included.

    Raises:
        ValueError: If a periodic direction has no lattice vector or the periodic vectors
            are linearly dependent, or ``r_max`` is not positive.
    """
    first, second, shifts = _pairs(positions, cell, pbc, r_max, quantities="ijS")
    # vesin: vector = r[j] - r[i] + S @ cell, so i sends and j receives.
    pairs = np.stack([first, second]).astype(np.int64)
    shifts = np.asarray(shifts, dtype=np.int64)
    return Neighbors(
        np.stack([pairs, pairs[::-1]], axis=2).reshape(2, -1),
        np.stack([shifts, -shifts], axis=1).reshape(-1, 3),
    )


def count_neighbors(
    positions: Float[np.ndarray, "nodes 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: tuple[bool, bool, bool] | np.ndarray,
    *,
    r_max: float,
) -> int:
    """Number of edges that `neighbor_list` would give.

    Args:
        positions: See `neighbor_list`.
        cell: See `neighbor_list`.
        pbc: See `neighbor_list`.
        r_max: Cutoff in Å.

    Raises:
        ValueError: See `neighbor_list`.
    """
    return 2 * len(_pairs(positions, cell, pbc, r_max, quantities="i")[0])


def _pairs(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: tuple[bool, bool, bool] | np.ndarray,
    r_max: float,
    *,
    quantities: str,
) -> Any:
    """What vesin says of all pairs, each in one direction: one array a quantity."""
    periodic = np.asarray(pbc, dtype=bool)
    if not r_max > 0:
        raise ValueError(f"r_max must be positive, got {r_max} Å")
    return VesinNeighborList(cutoff=r_max, full_list=False).compute(
        points=np.ascontiguousarray(positions, dtype=np.float64),
        box=_spanning_cell(np.asarray(cell, dtype=np.float64), periodic),
        periodic=periodic.tolist(),
        quantities=quantities,
    )


def _spanning_cell(cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Replace lattice vectors of open directions by unit vectors orthogonal to the rest.

    They only span space for the search; nothing is periodic along them, and the physical
    cell that defines volume and stress stays untouched.
    """
    if periodic.all() and abs(np.linalg.det(cell)) > _FLAT * (cell**2).sum():
        return cell  # whose smallest singular value exceeds _FLAT
    vectors = cell[periodic]
    if len(vectors) and np.linalg.matrix_rank(vectors, tol=_FLAT) < len(vectors):
        raise ValueError(
            f"pbc is {periodic.tolist()} but the cell {cell.tolist()} does not span the "
            "periodic directions: give the lattice vectors, or set pbc to False along "
            "missing ones"
        )
    if periodic.all():
        return cell
    # The right singular vectors beyond the rank span the open directions.
    complement = (
        np.linalg.svd(vectors, full_matrices=True)[2][len(vectors) :]
        if len(vectors)
        else np.eye(3)
    )
    box = cell.copy()
    box[~periodic] = complement
    return box
