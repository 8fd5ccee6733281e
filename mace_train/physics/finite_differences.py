"""Forces and stress are derivatives of the energy: compared with differences of energies.

Floor 3. Four energies along a line give the derivative at its middle with an error of the
fourth power of the step. A potential that predicts forces directly fails here, and its
energy drifts in molecular dynamics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mace_train.physics.outcome import Findings, Measurement, largest
from mace_train.physics.potential import LeftOutError
from mace_train.physics.setting import smallest_crystals
from mace_train.physics.structures import bare_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mace_train.physics.potential import Dtype, Potential
    from mace_train.physics.setting import Setting

# A longer step divides the rounding of energies by more, and errs by its fourth power.
_STEPS: dict[Dtype, float] = {"float64": 1e-3, "float32": 4e-2}
"""Displacements of an atom, Å."""
_STRAINS: dict[Dtype, float] = {"float64": 3e-4, "float32": 1e-2}
_COMPONENTS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def check_forces(setting: Setting) -> Findings:
    """Move single atoms of each structure."""
    found = []
    for atoms in setting.distorted:
        error, where = force_error(setting.potential, atoms, count=4)
        found.append((error, f"{atoms.get_chemical_formula()}, {where}"))
    error, where = largest(found)
    limit = setting.limits.forces_fd
    return Findings((Measurement("forces", error, "eV/Å", limit, where),))


def check_stress(setting: Setting) -> Findings:
    """Strain the smallest crystal in six directions."""
    atoms = smallest_crystals(setting.distorted)[0]
    error, where = stress_error(setting.potential, atoms)
    limit = setting.limits.stress_fd
    where = f"{atoms.get_chemical_formula()}, {where}"
    return Findings((Measurement("stress", error, "eV/Å³", limit, where),))


def force_error(potential: Potential, atoms: Atoms, *, count: int) -> tuple[float, str]:
    """Largest error of some force components, eV/Å, and where it is.

    Args:
        potential: Whose forces are checked.
        atoms: A structure without symmetry.
        count: How many components, of atoms spread over the structure.
    """
    forces, step = potential.forces(atoms), _STEPS[potential.dtype]
    places = np.linspace(0, len(atoms) - 1, count).round().astype(int)
    found = []
    for number, atom in enumerate(places.tolist()):
        axis = number % 3

        def energy(length: float, atom: int = atom, axis: int = axis) -> float:
            moved = bare_copy(atoms)
            moved.positions[atom, axis] += length
            return potential.energy(moved)

        error = abs(float(forces[atom, axis]) + derivative(energy, step))
        found.append((error, f"atom {atom} along {'xyz'[axis]}"))
    return largest(found)


def stress_error(
    potential: Potential, atoms: Atoms, *, components: int = 6
) -> tuple[float, str]:
    """Largest error of a component of the stress, eV/Å^3, and which.

    Args:
        potential: Whose stress is checked.
        atoms: Periodic in three directions.
        components: How many of the six are checked.

    Raises:
        LeftOutError: If the calculator has no stress.
    """
    stress = potential.stress(atoms)
    if stress is None:
        raise LeftOutError("the calculator has no stress")
    volume, step = atoms.get_volume(), _STRAINS[potential.dtype]
    found = []
    for row, column in _COMPONENTS[::-1][:components]:

        def energy(size: float, row: int = row, column: int = column) -> float:
            strain = np.zeros((3, 3))
            strain[row, column] += size / 2
            strain[column, row] += size / 2
            strained = bare_copy(atoms)
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            return potential.energy(strained)

        error = abs(float(stress[row, column]) - derivative(energy, step) / volume)
        found.append((error, f"{'xyz'[row]}{'xyz'[column]}"))
    return largest(found)


def derivative(function: Callable[[float], float], step: float) -> float:
    """Derivative at 0 from four values; the error is of order ``step ** 4``.

    >>> round(derivative(lambda x: x + x**3, 0.1), 12)
    1.0
    """
    near = function(step) - function(-step)
    far = function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)
