"""Molecular dynamics at constant energy keeps the total energy.

Floor 3. Forces that are not the derivative of the energy, jumps at the cutoff and rough
rounding all show here as a drift. Velocity Verlet makes the energy oscillate, though by
right forces it does not drift; what it does conserve is followed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from jaxtyping import Float

from mace_train.physics.outcome import Curve, Findings, Measurement
from mace_train.physics.structures import enlarged

if TYPE_CHECKING:
    from ase import Atoms

    from mace_train.physics.potential import Potential
    from mace_train.physics.setting import Setting

_NEON = 10
_SETTLING = 20  # steps before the first energy counts


def check_nve(setting: Setting) -> Findings:
    """Run the smallest structure, a crystal if there is one."""
    atoms = min(setting.several_atoms, key=lambda one: (not one.pbc.all(), len(one)))
    times, energies = nve_energies(
        setting.potential, atoms, steps=setting.nve_steps, temperature=setting.temperature
    )
    drift = drift_of(times, energies)
    name = f"{atoms.get_chemical_formula()}, {times[-1] - times[0]:.2f} ps"
    found = Measurement("drift", drift, "meV/atom/ps", setting.limits.nve_drift, name)
    spread = Measurement("spread", float(energies.std()), "meV/atom", where=name)
    curve = Curve(atoms.get_chemical_formula(), times, energies - energies.mean())
    return Findings((found, spread), (curve,))


def nve_energies(
    potential: Potential,
    atoms: Atoms,
    *,
    steps: int,
    temperature: float,
    timestep: float | None = None,
    seed: int = 1,
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Times, ps, and energies that velocity Verlet conserves, meV/atom.

    Those are the total energies with the correction of second order in the time step ``h``,

        E + h^2 (v.H.v / 12 - sum of |F|^2 / m / 24),    v.H.v = -v.dF/dt,

    e.g. Hairer, Lubich and Wanner, Acta Numerica 12 (2003) 399. With it, what oscillates is
    of fourth order, while a drift by wrong forces stays.

    Args:
        potential: Gives forces.
        atoms: Where it starts.
        steps: How many energies.
        temperature: Of the first velocities, K.
        timestep: fs; None: 1, with elements up to Ne 0.5, with hydrogen 0.25.
        seed: Of the first velocities.

    Returns:
        Energies are NaN from where a force is not finite.
    """
    moving = enlarged(atoms)
    moving.calc = potential.calculator
    masses = moving.get_masses()[:, None]
    widths = np.sqrt(masses * units.kB * temperature)
    momenta = widths * np.random.default_rng(seed).normal(size=(len(moving), 3))
    moving.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    step = timestep or _timestep_for(moving)
    dynamics = VelocityVerlet(moving, timestep=step * units.fs)
    energies = np.full(_SETTLING + steps + 1, np.nan)
    forces = np.full((len(energies), len(moving), 3), np.nan)
    velocities = np.full_like(forces, np.nan)
    for number in range(len(energies)):
        if not np.isfinite(moving.get_forces()).all():
            break  # what has no positions has no neighbors
        dynamics.run(1)
        energies[number] = moving.get_total_energy()
        forces[number], velocities[number] = moving.get_forces(), moving.get_velocities()
    changes = (forces[2:] - forces[:-2]) / 2  # h dF/dt
    curvatures = -np.einsum("tij,tij->t", velocities[1:-1], changes)
    squares = np.einsum("tij,ij->t", forces[1:-1] ** 2, 1 / masses)
    time = step * units.fs
    conserved = energies[1:-1] + time * curvatures / 12 - time**2 * squares / 24
    return 1e-3 * step * np.arange(steps), 1000 * conserved[-steps:] / len(moving)


def _timestep_for(atoms: Atoms) -> float:
    """In fs, for the fastest vibration that such elements have."""
    lightest = atoms.numbers.min()
    return 0.25 if lightest == 1 else 0.5 if lightest <= _NEON else 1.0


def drift_of(
    times: Float[np.ndarray, " steps"], energies: Float[np.ndarray, " steps"]
) -> float:
    """Size of the slope of a straight line through energies, meV/atom/ps."""
    if not np.isfinite(energies).all():
        return float("nan")
    return float(abs(np.polyfit(times, energies, 1)[0]))
