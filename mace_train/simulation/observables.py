"""What is known of a run after a step: time, temperature, energies, the closest atoms.

Floor 3. The trip wires look at these numbers, and the log is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import covalent_radii

from mace_train.neighbors import neighbor_list

if TYPE_CHECKING:
    from ase import Atoms
    from jaxtyping import Bool

_SEARCH = 1.5  # sums of covalent radii; bonds are about 1 of them


@dataclass(frozen=True)
class ClosestPair:
    """The two atoms that are closest for their size.

    Attributes:
        first: Place of one atom.
        second: Place of the other; the same for an atom and its own periodic image.
        distance: Å.
        contact: Sum of their covalent radii, Å.
        shortest: Smallest distance of any two atoms, Å; small atoms can be nearer to each
            other than this pair.
    """

    first: int
    second: int
    distance: float
    contact: float
    shortest: float


@dataclass(frozen=True)
class Observables:
    """Numbers of one step.

    Attributes:
        step: Steps done.
        time: ps.
        target: Temperature of the thermostat, K; None without one.
        temperature: K.
        potential: Energy of the model, eV.
        total: Potential and kinetic energy, eV.
        conserved: Total energy less the heat that the thermostat gave, eV.
        drift: How far ``conserved`` is from its value at the beginning, meV/atom.
        closest: The closest pair; None if no two atoms are near each other.
    """

    step: int
    time: float
    target: float | None
    temperature: float
    potential: float
    total: float
    conserved: float
    drift: float
    closest: ClosestPair | None


def closest_pair(atoms: Atoms) -> ClosestPair | None:
    """The pair with the smallest distance in units of its covalent radii.

    Args:
        atoms: Positions must be finite.

    Returns:
        None if no pair is closer than 1.5 times the sum of its covalent radii.
    """
    radii = covalent_radii[atoms.numbers]
    edges, lengths = _pairs(atoms, _SEARCH * 2.0 * float(radii.max()))
    contacts = radii[edges[0]] + radii[edges[1]]
    if not len(lengths) or (lengths / contacts).min() > _SEARCH:
        return None
    place = int(np.argmin(lengths / contacts))
    first, second = sorted(map(int, edges[:, place]))
    return ClosestPair(
        first,
        second,
        distance=float(lengths[place]),
        contact=float(contacts[place]),
        shortest=float(lengths.min()),
    )


def has_company(atoms: Atoms, reach: float) -> Bool[np.ndarray, " nodes"]:
    """Which atoms have another one, or a periodic image, near them.

    Args:
        atoms: Positions must be finite.
        reach: What counts as near, in sums of the covalent radii of both.
    """
    radii = covalent_radii[atoms.numbers]
    edges, lengths = _pairs(atoms, reach * 2.0 * float(radii.max()))
    near = lengths <= reach * (radii[edges[0]] + radii[edges[1]])
    company = np.zeros(len(atoms), dtype=bool)
    company[edges[:, near].ravel()] = True
    return company


def pressure(atoms: Atoms) -> float | None:
    """Pressure of atoms and model in GPa, with the part of the motion.

    Args:
        atoms: With a calculator.

    Returns:
        None if the atoms fill no volume, or the calculator has no stress.
    """
    if not atoms.pbc.all():
        return None
    try:
        stress = atoms.get_stress(include_ideal_gas=True)
    except (PropertyNotImplementedError, NotImplementedError):
        return None
    return float(-stress[:3].mean() / units.GPa)


def _pairs(atoms: Atoms, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Each pair in one direction, and its distance."""
    cell = atoms.cell.array
    neighbors = neighbor_list(atoms.positions, cell, atoms.pbc, r_max=reach)
    edges, shifts = neighbors.edge_index[:, ::2], neighbors.unit_shifts[::2]
    vectors = atoms.positions[edges[1]] - atoms.positions[edges[0]] + shifts @ cell
    return edges, np.linalg.norm(vectors, axis=1)
