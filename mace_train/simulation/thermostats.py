"""Thermostats that count the heat they give, so that the energy still has a balance.

Floor 3. Each acts on the momenta between two steps of velocity Verlet. What it adds to the
kinetic energy is heat; total energy minus heat is constant but for the error of the
integrator and of the potential, at any temperature and while the temperature changes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import units

if TYPE_CHECKING:
    from ase import Atoms

ThermostatName = Literal["rescaling", "langevin"]

_NO_MOTION = 1e-9  # eV an atom, a hundredth of a millikelvin


def thermalize(
    atoms: Atoms,
    *,
    name: ThermostatName,
    temperature: float,
    steps_to_relax: float,
    rng: np.random.Generator,
) -> float:
    """Let a thermostat act for one step.

    Args:
        atoms: Their momenta are changed.
        name: ``rescaling``: all momenta by one random factor, which gives the canonical
            distribution and hardly disturbs the dynamics (arXiv:0803.4060, Eq. A7).
            ``langevin``: friction and noise on every atom (arXiv:0803.4083), for systems
            whose parts exchange heat slowly.
        temperature: K.
        steps_to_relax: Steps in which the kinetic energy (rescaling) or a velocity
            (langevin) forgets what it was.
        rng: Where random numbers come from.

    Returns:
        Heat given to the atoms, eV.
    """
    before = atoms.get_kinetic_energy()
    kT = units.kB * temperature
    keep = math.exp(-1.0 / steps_to_relax)
    act = _rescale if name == "rescaling" else _kick
    act(atoms, kT, keep, rng)
    return float(atoms.get_kinetic_energy() - before)


def set_velocities(
    atoms: Atoms, temperature: float | None, rng: np.random.Generator
) -> None:
    """Give atoms without velocities some, and take the motion of the whole away.

    Args:
        atoms: Their momenta are changed. With constraints, velocities that the atoms bring
            are left as they are.
        temperature: Of the velocities that are drawn, K.
        rng: Where random numbers come from.

    Raises:
        ValueError: If velocities are needed and no temperature is known.
    """
    _bring_to_rest(atoms)
    if atoms.get_kinetic_energy() > _NO_MOTION * len(atoms):
        return
    if temperature is None:
        raise ValueError(
            "the atoms have no velocities and no stage has a temperature: begin with a "
            "stage such as 300:1, or set velocities"
        )
    width = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    atoms.set_momenta(width * rng.standard_normal((len(atoms), 3)))
    _bring_to_rest(atoms)


def count_degrees_of_freedom(atoms: Atoms, name: ThermostatName) -> int:
    """Number of directions that share the kinetic energy.

    Forces between atoms change neither the momentum of the whole nor, without a periodic
    cell, its angular momentum, and rescaling keeps both at zero. Langevin's noise does not.

    Args:
        atoms: Their constraints count.
        name: The thermostat.

    Raises:
        ValueError: If nothing is left that could move.
    """
    left = int(atoms.get_number_of_degrees_of_freedom())
    if not atoms.constraints and name == "rescaling":
        left -= 3
        if not atoms.pbc.any():
            left -= 2 if len(atoms) == 2 else 3
    if left < 1:
        raise ValueError(
            f"{len(atoms)} atom(s) with {len(atoms.constraints)} constraint(s) have no "
            "degree of freedom left: give more atoms, or fewer constraints"
        )
    return left


def _bring_to_rest(atoms: Atoms) -> None:
    """Take away the motion of the whole, and its rotation where there is no cell."""
    if atoms.constraints:
        return
    velocities, masses = atoms.get_velocities(), atoms.get_masses()
    velocities -= np.average(velocities, axis=0, weights=masses)
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        momentum = (masses[:, None] * np.cross(arms, velocities)).sum(axis=0)
        square = masses @ (arms**2).sum(axis=1)
        inertia = square * np.eye(3) - (masses[:, None] * arms).T @ arms
        # A line of atoms has no inertia about itself, hence the pseudo-inverse.
        rotation = np.linalg.pinv(inertia, rcond=1e-10, hermitian=True) @ momentum
        velocities -= np.cross(rotation, arms)
    atoms.set_velocities(velocities)


def _rescale(atoms: Atoms, kT: float, keep: float, rng: np.random.Generator) -> None:
    num = count_degrees_of_freedom(atoms, "rescaling")
    kinetic = atoms.get_kinetic_energy()
    share = (1.0 - keep) * 0.5 * kT / kinetic
    first = rng.standard_normal()
    others = 2.0 * rng.standard_gamma(0.5 * (num - 1)) if num > 1 else 0.0
    factor = keep + share * (first**2 + others) + 2.0 * first * math.sqrt(keep * share)
    atoms.set_momenta(math.sqrt(factor) * atoms.get_momenta())


def _kick(atoms: Atoms, kT: float, keep: float, rng: np.random.Generator) -> None:
    noise = rng.standard_normal((len(atoms), 3))
    width = np.sqrt(kT * atoms.get_masses() * (1.0 - keep**2))[:, None]
    atoms.set_momenta(keep * atoms.get_momenta() + width * noise)
