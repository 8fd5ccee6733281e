"""What a trajectory says of its structure: distances of neighbors, and how far atoms went.

Floor 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii

from mace_train.neighbors import neighbor_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from jaxtyping import Float

_SEARCH = 1.5  # sums of covalent radii
_LONGEST_BOND = 1.2  # of the shortest


def radial_distribution(
    frames: Sequence[Atoms], *, r_max: float, num_bins: int = 200
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """g(r) of all atoms: pairs at a distance over those of a gas of equal density.

    Args:
        frames: Of one periodic system.
        r_max: Where it ends, Å; beyond half a small cell it shows the cell's own images.
        num_bins: Number of intervals of r.

    Returns:
        The middle of each interval in Å, and g there.

    Raises:
        ValueError: If there is no frame, or one is not periodic in three directions.
    """
    if not frames or not all(frame.pbc.all() for frame in frames):
        raise ValueError(
            f"g(r) of {len(frames)} frames: it needs at least one, periodic in three "
            "directions"
        )
    edges = np.linspace(0.0, r_max, num_bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = np.zeros(num_bins)
    for frame in frames:
        counts = np.histogram(_pairs(frame, r_max)[2], bins=edges)[0]
        g += 2 * counts / (shells * len(frame) ** 2 / frame.get_volume())
    return 0.5 * (edges[1:] + edges[:-1]), g / len(frames)


def bond_lengths(
    frames: Sequence[Atoms], *, first: Atoms
) -> Float[np.ndarray, "frames bonds"]:
    """Lengths of the bonds that the first frame has, followed through others, Å.

    A bond is a pair that is at most 1.2 times as long as the shortest one of the first
    frame. In a crystal all of them last; where atoms change places they grow apart.

    Args:
        frames: Of one trajectory, not wrapped into the cell.
        first: Its first frame.

    Raises:
        ValueError: If the first frame has no two atoms near each other.
    """
    reach = _SEARCH * 2.0 * float(covalent_radii[first.numbers].max())
    edges, shifts, lengths = _pairs(first, reach)
    if not len(lengths):
        raise ValueError(f"no two atoms of the first frame are nearer than {reach:.1f} Å")
    bonds = lengths <= _LONGEST_BOND * lengths.min()
    (sender, receiver), shifts = edges[:, bonds], shifts[bonds]
    return np.stack(
        [
            np.linalg.norm(
                frame.positions[receiver]
                - frame.positions[sender]
                + shifts @ frame.cell.array,
                axis=1,
            )
            for frame in frames
        ]
    )


def mean_square_displacement(
    frames: Sequence[Atoms],
) -> Float[np.ndarray, " frames"]:
    """How far atoms are from where they were in the first frame, Å^2.

    In a crystal it stays at the size of the vibrations; where atoms diffuse it grows with
    time. Positions must not be wrapped; the motion of the whole is left out.

    Args:
        frames: Of one trajectory.
    """
    paths = np.stack([frame.positions for frame in frames])
    masses = frames[0].get_masses()
    paths = paths - np.average(paths, axis=1, weights=masses)[:, None, :]
    return np.square(paths - paths[0]).sum(axis=2).mean(axis=1)


def _pairs(frame: Atoms, r_max: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair in one direction: its atoms, the cell vectors it crosses, its length."""
    cell = frame.cell.array
    neighbors = neighbor_list(frame.positions, cell, frame.pbc, r_max=r_max)
    edges, shifts = neighbors.edge_index[:, ::2], neighbors.unit_shifts[::2]
    vectors = frame.positions[edges[1]] - frame.positions[edges[0]] + shifts @ cell
    return edges, shifts, np.linalg.norm(vectors, axis=1)
