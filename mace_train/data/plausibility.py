"""Checks of single frames at the border, before a week of computing is spent on them.

What a single frame cannot show (units and signs that are plausible in themselves) is found
over many frames in `unit_evidence`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from jaxtyping import Bool, Float, Int

from mace_train.data.frame import inverse_of, volume_of
from mace_train.data.problems import FrameError
from mace_train.neighbors import neighbor_list

if TYPE_CHECKING:
    from mace_train.data.frame import Frame

ABSURD_FORCE = 1000.0
"""eV/Å; MPtrj has real ones up to 202."""

ABSURD_ENERGY = 1000.0
"""eV/atom above zero."""

CLOSEST_APPROACH = 0.2
"""Å; no bond is shorter than 0.74, and scans of dimers begin near 0.35."""

_MAX_ATOMS_AT_ONCE = 2000  # the quick test of distances takes memory for all pairs

ISOLATION_DISTANCE = 8.0
"""Å; a single atom with no image of itself closer than this is an isolated atom."""

_Z = np.arange(119, dtype=np.float64)
ATOM_ENERGIES_HARTREE = 0.768745 * _Z ** (7 / 3) - 0.5 * _Z**2 + 0.2699 * _Z ** (5 / 3)
"""-(total energy) of an atom with all its electrons, by atomic number, within 1 % of
Hartree-Fock from carbon on (J. Schwinger, Phys. Rev. A 24, 2353 (1981))."""


def check_geometry(
    atomic_numbers: Int[np.ndarray, " nodes"],
    positions: Float[np.ndarray, "nodes 3"],
    *,
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
) -> None:
    """Refuse what is no structure.

    Args:
        atomic_numbers: 1..118.
        positions: Å.
        cell: Lattice vectors in rows, Å.
        pbc: Which are periodic.

    Raises:
        FrameError: If there are no atoms or atoms of no element, coordinates are not
            finite, periodic directions have no lattice vector, or two atoms, or an atom and
            its own image, are at the same place.
    """
    if not len(atomic_numbers):
        raise FrameError("have no atoms", cure="Remove them.")
    if atomic_numbers.min() < 1 or atomic_numbers.max() > 118:
        raise FrameError(
            "have atoms of no element",
            cure="Give every atom a chemical symbol, or an atomic number in 1..118.",
            detail=f"atomic numbers {sorted(set(atomic_numbers.tolist()))}",
        )
    if not math.isfinite(np.vdot(positions, positions) + np.vdot(cell, cell)):
        raise FrameError(
            "have positions or cells that are NaN or infinite",
            cure="Remove or recompute these frames.",
        )
    dimensions = sum(pbc.tolist())
    _check_cell(cell, pbc, dimensions)
    if len(positions) > 1 and not _are_surely_apart(positions, cell, dimensions):
        _check_distances(positions, cell, pbc)


def _check_cell(cell: np.ndarray, pbc: np.ndarray, dimensions: int) -> None:
    """Every periodic direction needs a lattice vector of its own."""
    if dimensions == 3:
        lengths = [math.hypot(*vector) for vector in cell.tolist()]
        spans = volume_of(cell) > 1e-6 * math.prod(lengths)
    elif dimensions:
        vectors = cell[pbc]
        spans = np.linalg.matrix_rank(vectors, tol=1e-6) == len(vectors)
    else:
        return
    if spans:
        shortest = min(math.hypot(*vector) for vector in cell[pbc].tolist())
        if shortest < CLOSEST_APPROACH:
            raise FrameError(
                f"have a lattice vector shorter than {CLOSEST_APPROACH} Å",
                cure="Correct the Lattice, or check data.units.length.",
                detail=f"{shortest:.3g} Å",
            )
        return
    told = " ".join("T" if periodic else "F" for periodic in pbc)
    if not cell.any():
        raise FrameError(
            f'say pbc="{told}" but have no Lattice',
            cure='Add the Lattice, or write pbc="F F F" if these are molecules.',
        )
    raise FrameError(
        f'say pbc="{told}" but their Lattice does not span these directions',
        cure="Correct the Lattice (its vectors must not lie in a plane), or the pbc.",
        detail=f"Lattice={cell.ravel().tolist()}",
    )


def _check_distances(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    """No two atoms at the same place, periodic images included."""
    edges = neighbor_list(positions, cell, pbc, r_max=10 * CLOSEST_APPROACH)
    first, second = edges.edge_index
    vectors = positions[second] - positions[first] + edges.unit_shifts @ cell
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if not len(squares) or squares.min() >= CLOSEST_APPROACH**2:
        return
    worst = int(squares.argmin())
    pair = sorted((int(first[worst]), int(second[worst])))
    raise FrameError(
        f"have two atoms closer than {CLOSEST_APPROACH} Å",
        cure="Remove these frames; if all are concerned, check data.units.length and "
        "whether positions are Cartesian.",
        detail=f"atoms {pair[0]} and {pair[1]} (from 0) are "
        f"{squares[worst] ** 0.5:.3f} Å apart",
    )


def _are_surely_apart(positions: np.ndarray, cell: np.ndarray, dimensions: int) -> bool:
    """A test by one matrix product, much cheaper than a neighbor list; False if unsure.

    In a crystal, atoms at fractional coordinates f and g are points on a torus, where
    sum_a cos(2 pi (f_a - g_a)) >= 3 - 2 pi^2 |f - g|^2, and each |f_a - g_a| (less whole
    cells) is at most their distance over the spacing of the lattice planes.
    """
    if len(positions) > _MAX_ATOMS_AT_ONCE:
        return False
    if dimensions == 3:
        inverse = inverse_of(cell)
        phases = positions @ (2 * np.pi * inverse)
        points = np.empty((len(positions), 6))
        np.cos(phases, out=points[:, :3])
        np.sin(phases, out=points[:, 3:])
        closeness = points @ points.T
        limit = 3 - 2 * (np.pi * CLOSEST_APPROACH) ** 2 * np.vdot(inverse, inverse)
    elif dimensions == 0:
        centered = positions - positions[0]
        squares = np.einsum("ij,ij->i", centered, centered)
        closeness = 2 * (centered @ centered.T) - squares - squares[:, None]  # -distance^2
        limit = -(CLOSEST_APPROACH**2)
    else:
        return False
    closeness.flat[:: len(positions) + 1] = -np.inf
    return bool(closeness.max() < limit)


def check_labels(frame: Frame, *, max_force: float | None) -> None:
    """Refuse labels that no electronic-structure calculation gives.

    Args:
        frame: With its labels in eV and Å.
        max_force: The user's limit in eV/Å; then frames beyond it are not refused here.

    Raises:
        FrameError: If the energy is lower than that of all electrons, far above zero, or a
            force is beyond `ABSURD_FORCE`.
    """
    if frame.energy is not None:
        _check_energy(frame)
    if frame.forces is not None and max_force is None:
        _check_forces(frame.forces)


def _check_forces(forces: np.ndarray) -> None:
    if not exceeds(forces, ABSURD_FORCE):
        return
    norms = np.linalg.norm(forces, axis=1)
    raise FrameError(
        f"have forces beyond {ABSURD_FORCE:.0f} eV/Å",
        cure="Remove them, or leave out frames with large forces by data.max_force=100 "
        "(eV/Å). If all frames are concerned, set data.units.",
        detail=f"{norms.max():.1f} eV/Å on atom {norms.argmax()} (from 0)",
    )


def exceeds(forces: Float[np.ndarray, "nodes 3"], limit: float) -> bool:
    """Whether the norm of any force is beyond a limit."""
    if np.vdot(forces, forces) <= limit**2:
        return False
    return bool(np.einsum("ij,ij->i", forces, forces).max() > limit**2)


def all_electron_energy(atomic_numbers: Int[np.ndarray, " nodes"]) -> float:
    """About what the atoms' electrons bind in all, in hartree (positive)."""
    return float(ATOM_ENERGIES_HARTREE[atomic_numbers].sum())


def _check_energy(frame: Frame) -> None:
    assert frame.energy is not None
    if -20 * frame.num_atoms < frame.energy < ABSURD_ENERGY * frame.num_atoms:
        return  # the usual case, above the bound of hydrogen, the highest of all
    all_electrons = all_electron_energy(frame.atomic_numbers) * units.Hartree
    # 10 % for relativity (up to uranium), 10 eV an atom for bonds and the formula's error.
    lowest = -1.1 * all_electrons - 10.0 * frame.num_atoms
    if frame.energy < lowest:
        raise FrameError(
            "have an energy below that of all their electrons, so that it is not in eV",
            cure="Say the unit: data.units.energy=kcal/mol (or kJ/mol, meV, hartree, "
            "rydberg).",
            detail=f"{frame.energy:.6g}, where nothing is below about "
            f"{-all_electrons:.6g} eV",
        )
    if frame.energy > ABSURD_ENERGY * frame.num_atoms:
        raise FrameError(
            f"have an energy of more than {ABSURD_ENERGY:.0f} eV an atom above zero",
            cure="Remove them, or say the unit with data.units.energy.",
            detail=f"{frame.energy:.6g} eV for {frame.num_atoms} atoms",
        )


def is_isolated_atom(
    atomic_numbers: Int[np.ndarray, " nodes"],
    *,
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
    config_type: str | None,
) -> bool:
    """Whether the energy of a frame is an E0.

    True where ``config_type`` says so (``IsolatedAtom``, ``isolated_atom``, any case), and
    for a single atom whose periodic images, if any, are `ISOLATION_DISTANCE` away.

    Raises:
        FrameError: If a frame is called an isolated atom but has several atoms.
    """
    told = (config_type or "").lower().replace("_", "").replace(" ", "") == "isolatedatom"
    if len(atomic_numbers) > 1:
        if told:
            raise FrameError(
                "are called isolated atoms but have several",
                cure="Correct their config_type.",
                detail=f"config_type={config_type}, {len(atomic_numbers)} atoms",
            )
        return False
    if told or not pbc.any():
        return True
    inverse = np.linalg.pinv(cell[pbc])
    spacing = 1 / np.linalg.norm(inverse, axis=0)  # between lattice planes
    return bool(spacing.min() >= ISOLATION_DISTANCE)
