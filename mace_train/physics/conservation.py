"""Molecular dynamics at constant energy keeps the total energy.

Floor 3. Forces that are not the derivative of the energy, jumps at the cutoff and rough
rounding all show here as a drift.
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
    """Times, ps, and total energies, meV/atom, along a trajectory.

    Args:
        potential: Gives forces.
        atoms: Where it starts.
        steps: How many energies.
        temperature: Of the first velocities, K.
        timestep: fs; None: 1, or 0.5 with hydrogen.
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
    step = timestep or (0.5 if (moving.numbers == 1).any() else 1.0)
    dynamics = VelocityVerlet(moving, timestep=step * units.fs)
    energies = np.full(_SETTLING + steps, np.nan)
    for number in range(len(energies)):
        if not np.isfinite(moving.get_forces()).all():
            break  # what has no positions has no neighbors
        dynamics.run(1)
        energies[number] = 1000 * moving.get_total_energy() / len(moving)
    return 1e-3 * step * np.arange(steps), energies[_SETTLING:]


def drift_of(
    times: Float[np.ndarray, " steps"], energies: Float[np.ndarray, " steps"]
) -> float:
    """Size of the slope of a straight line through energies, meV/atom/ps."""
    if not np.isfinite(energies).all():
        return float("nan")
    return float(abs(np.polyfit(times, energies, 1)[0]))
