"""Rotations, reflections, translations, permutations and wrapping: nothing else changes.

Floor 3. The energy stays, forces and stress turn along. Each check transforms a structure
without symmetry and compares what the potential says before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from jaxtyping import Float

from mace_train.physics.outcome import Findings, Measurement, largest
from mace_train.physics.structures import bare_copy

if TYPE_CHECKING:
    from mace_train.physics.limits import Limits
    from mace_train.physics.potential import Potential
    from mace_train.physics.setting import Setting

_SHIFT = np.array([0.7, -1.9, 2.3])

Transformed = tuple[Atoms, Float[np.ndarray, "3 3"], np.ndarray]
"""The structure after, the orthogonal matrix that turns vectors along, and which atom
before each of its atoms was."""


def check_rotation(setting: Setting) -> Findings:
    """Turn structures around an axis of no meaning."""
    return _compare(setting, setting.distorted, _turned(determinant=1))


def check_reflection(setting: Setting) -> Findings:
    """Invert structures and turn them: the mirror image has the mirrored forces."""
    return _compare(setting, setting.distorted, _turned(determinant=-1))


def check_translation(setting: Setting) -> Findings:
    """Move all atoms alike, out of their cells too."""

    def moved(atoms: Atoms) -> Transformed:
        after = bare_copy(atoms)
        after.positions += _SHIFT
        return after, np.eye(3), np.arange(len(atoms))

    return _compare(setting, setting.distorted, moved)


def check_permutation(setting: Setting) -> Findings:
    """Write the atoms in another order."""

    def permuted(atoms: Atoms) -> Transformed:
        order = np.roll(np.random.default_rng(2).permutation(len(atoms)), 1)
        return bare_copy(atoms)[order], np.eye(3), order  # type: ignore[return-value]

    return _compare(setting, setting.several_atoms, permuted)


def check_wrapping(setting: Setting) -> Findings:
    """Move atoms to other images of their cell, each by lattice vectors of its own."""

    def unwrapped(atoms: Atoms) -> Transformed:
        after = bare_copy(atoms)
        images = np.random.default_rng(3).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        after.positions += images @ atoms.cell.array
        return after, np.eye(3), np.arange(len(atoms))

    return _compare(setting, setting.periodic, unwrapped)


def rotation_error(potential: Potential, atoms: Atoms) -> float:
    """Largest change of a force component, beyond turning along, eV/Å."""
    return _differences(potential, atoms, _turned(determinant=1))[1]


def _turned(*, determinant: int) -> Callable[[Atoms], Transformed]:
    """A proper (1) or improper (-1) rotation."""
    matrix = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turn = matrix * np.sign(np.linalg.det(matrix)) * determinant

    def apply(atoms: Atoms) -> Transformed:
        after = bare_copy(atoms)
        after.set_cell(atoms.cell.array @ turn.T)
        after.positions = atoms.positions @ turn.T
        return after, turn, np.arange(len(atoms))

    return apply


def _compare(
    setting: Setting, structures: Sequence[Atoms], transform: Callable[[Atoms], Transformed]
) -> Findings:
    """The largest differences over structures."""
    rows = [_differences(setting.potential, atoms, transform) for atoms in structures]
    return Findings(largest_of(rows, structures, setting.limits))


def largest_of(
    rows: Sequence[tuple[float, float, float | None]],
    structures: Sequence[Atoms],
    limits: Limits,
) -> tuple[Measurement, ...]:
    """The largest of several differences of energy per atom, forces and stress.

    Args:
        rows: For each structure; a stress that does not exist is None.
        structures: For the names of the worst.
        limits: Of these differences.
    """
    kinds = (
        ("energy", "eV/atom", limits.energy),
        ("forces", "eV/Å", limits.forces),
        ("stress", "eV/Å³", limits.stress),
    )
    found = []
    for column, (quantity, unit, limit) in enumerate(kinds):
        values = [
            (value, atoms.get_chemical_formula())
            for row, atoms in zip(rows, structures)
            if (value := row[column]) is not None
        ]
        if values:
            value, where = largest(values)
            found.append(Measurement(quantity, float(value), unit, limit, where))
    return tuple(found)


def _differences(
    potential: Potential, atoms: Atoms, transform: Callable[[Atoms], Transformed]
) -> tuple[float, float, float | None]:
    """Of energy per atom, forces and stress, before and after."""
    before = potential.respond(atoms)
    image, turn, order = transform(atoms)
    after = potential.respond(image)
    forces = float(np.abs(after.forces - before.forces[order] @ turn.T).max())
    stress = None
    if before.stress is not None and after.stress is not None:
        stress = float(np.abs(after.stress - turn @ before.stress @ turn.T).max())
    return abs(after.energy - before.energy) / len(atoms), forces, stress
