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
_SAFE_BOXES = (
    5e4  # vesin (0.4 to 0.6) makes at most 1e5 boxes, by rounding their numbers down
)


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
            are linearly dependent, ``r_max`` is not positive, or a position or cell is
            not finite.
    """
    pairs, shifts = near_pairs(positions, cell, pbc, r_max=r_max)
    return Neighbors(
        np.stack([pairs, pairs[::-1]], axis=2).reshape(2, -1),
        np.stack([shifts, -shifts], axis=1).reshape(-1, 3),
    )


def near_pairs(
    positions: Float[np.ndarray, "nodes 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: tuple[bool, bool, bool] | np.ndarray,
    *,
    r_max: float,
) -> tuple[Int[np.ndarray, "2 pairs"], Int[np.ndarray, "pairs 3"]]:
    """Find what `neighbor_list` finds, each pair in one of its two directions.

    Args:
        positions: See `neighbor_list`.
        cell: See `neighbor_list`.
        pbc: See `neighbor_list`.
        r_max: Cutoff in Å.

    Returns:
        Sender and receiver of each pair, and the cell vectors it crosses.

    Raises:
        ValueError: See `neighbor_list`.
    """
    first, second, shifts = _pairs(positions, cell, pbc, r_max, quantities="ijS")
    # vesin: vector = r[j] - r[i] + S @ cell, so i sends and j receives.
    return np.stack([first, second]).astype(np.int64), np.asarray(shifts, np.int64)


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


def require_finite(positions: np.ndarray, cell: np.ndarray) -> None:
    """Refuse positions and cells that are not finite.

    Raises:
        ValueError: If one is not; the message names the first such atom.
    """
    if not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(1))[0])
        raise ValueError(
            f"the position of atom {atom} is {positions[atom].tolist()}: it must be finite"
        )
    if not np.isfinite(cell).all():
        raise ValueError(f"the cell is {cell.tolist()}: its vectors must be finite")


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
    require_finite(np.asarray(positions), np.asarray(cell))
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    box = _spanning_cell(np.asarray(cell, dtype=np.float64), periodic)
    reach = r_max
    if len(positions) and not _fits(positions, box, periodic, r_max):
        positions, box = _without_gaps(positions, box, periodic, 2 * r_max)
        while not _fits(positions, box, periodic, reach):
            reach *= 2
    found = VesinNeighborList(cutoff=reach, full_list=False).compute(
        points=positions,
        box=box,
        periodic=periodic.tolist(),
        quantities=quantities + ("" if reach == r_max else "d"),
    )
    if reach == r_max:
        return found
    is_near = found[-1] < r_max
    return [values[is_near] for values in found[:-1]]


def _fits(
    positions: np.ndarray, box: np.ndarray, periodic: np.ndarray, reach: float
) -> bool:
    """Whether vesin can sort the atoms into boxes as large as ``reach``.

    Where that makes too many, it takes fewer in each direction alike. Flat or thin space,
    such as that of two atoms 0.1 mm apart, is left with none in some direction, and a
    division by zero ends the process.
    """
    inverse = np.linalg.inv(box)
    extents = 1 / np.linalg.norm(inverse, axis=0)
    if not periodic.all():
        spread = np.ptp(positions @ inverse, axis=0) * extents
        extents = np.where(periodic, extents, spread)
    boxes = np.maximum(extents / reach, 1)
    fewer = (_SAFE_BOXES / np.prod(boxes + 1)) ** (1 / 3)
    return bool(fewer >= 1 or boxes.min() * fewer >= 2)


def _without_gaps(
    positions: np.ndarray, box: np.ndarray, periodic: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink layers without atoms to ``width``: atoms and box with the same near pairs.

    Raises:
        ValueError: If the box is so skewed that it becomes flat.
    """
    given, box = box, box.copy()
    least = 1 / np.linalg.norm(np.linalg.inv(box), axis=0).max()
    for axis in range(3):
        inverse = np.linalg.inv(box)
        height = 1 / np.linalg.norm(inverse[:, axis])
        normal = inverse[:, axis] * height
        old = positions @ normal
        laps = np.floor(old / height) if periodic[axis] else np.zeros(len(old))
        order = np.argsort(old - laps * height)
        in_box = (old - laps * height)[order]
        steps = np.minimum(np.diff(in_box, append=in_box[0] + height), width)
        new = np.empty_like(old)
        new[order] = np.append(0, np.cumsum(steps[:-1]))
        if periodic[axis]:
            new += laps * steps.sum()
            box[axis] -= (height - steps.sum()) * normal
        # Subtracts first: what is tiny beside the gap survives.
        positions = positions - old[:, None] * normal + new[:, None] * normal
    heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    if heights.min() < 0.1 * min(least, width):
        raise ValueError(
            f"the cell {given.tolist()} is too long, thin and skewed for a search: shorten "
            "it, or set pbc to False along the long vectors"
        )
    return positions, box


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
