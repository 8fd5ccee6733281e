"""The energy of a crystal against its volume: smooth, with one minimum.

Floor 3. Volume and bulk modulus of that minimum are reported; they are physics of the
material, not laws, so that they have no limit.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from ase.eos import EquationOfState
from ase.units import GPa
from jaxtyping import Float

from mace_train.physics.outcome import Curve, Findings, Measurement
from mace_train.physics.potential import LeftOutError
from mace_train.physics.structures import bare_copy

if TYPE_CHECKING:
    from ase import Atoms

    from mace_train.physics.potential import Potential
    from mace_train.physics.setting import Setting

_LENGTHS = np.linspace(0.88, 1.12, 25)
"""Lengths over those given, in steps of 1 %."""
_FIT = 0.06  # volumes of the fit, around the minimum
_NOISE = 1e-4  # eV/atom: a dip that is none


def check_volumes(setting: Setting) -> Findings:
    """Scale the smallest crystal; fit Birch and Murnaghan's equation around its minimum."""
    atoms, potential, limits = setting.crystals[0], setting.potential, setting.limits
    name = atoms.get_chemical_formula()
    volumes, energies = energies_by_volume(potential, atoms, _LENGTHS)
    count = _count_minima(energies)
    wrong = float(abs(count - 1))
    if wrong and setting.are_built:
        raise LeftOutError(
            f"{name} was built and has no minimum here, perhaps as no such crystal was "
            "trained on; give structure=FILE"
        )
    quantity = "minima missing" if count == 0 else "minima too many"
    place = f"{name}, {volumes[0]:.1f} to {volumes[-1]:.1f} Å³/atom"
    found = [Measurement(quantity, wrong, "", limits.volume_minima, place)]
    curve = Curve(name, volumes, energies - energies.min())
    if wrong:
        return Findings(tuple(found), (curve,))
    lowest = float(volumes[int(np.argmin(energies))])
    near = np.linspace(1 - _FIT, 1 + _FIT, 11) * lowest * len(atoms) / atoms.get_volume()
    volumes, energies = energies_by_volume(potential, atoms, np.cbrt(near))
    volume, modulus, rest = _fit(volumes, energies)
    found += [
        Measurement("roughness", 1000 * rest, "meV/atom", limits.volume_roughness, name),
        Measurement("volume", volume, "Å³/atom", where=name),
        Measurement("bulk modulus", modulus, "GPa", where=name),
    ]
    note = f"{name}: {volume:.3f} Å³/atom, bulk modulus {modulus:.1f} GPa (Birch-Murnaghan)"
    return Findings(tuple(found), (curve,), (note,))


def energies_by_volume(
    potential: Potential, atoms: Atoms, lengths: Float[np.ndarray, " points"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Volumes, Å^3/atom, and energies, eV/atom, of a crystal scaled by some lengths."""
    volumes, energies = [], []
    for length in lengths:
        scaled = bare_copy(atoms)
        scaled.set_cell(atoms.cell.array * length, scale_atoms=True)
        volumes.append(scaled.get_volume() / len(atoms))
        energies.append(potential.energy(scaled) / len(atoms))
    return np.array(volumes), np.array(energies)


def _count_minima(energies: Float[np.ndarray, " points"]) -> int:
    """Valleys deeper than noise, with a rise on both sides; NaN counts as none."""
    if not np.isfinite(energies).all():
        return 0
    count, lowest, highest, is_falling = 0, energies[0], energies[0], True
    for energy in energies[1:]:
        if is_falling:
            lowest = min(lowest, energy)
            if energy > lowest + _NOISE:
                # A curve that rises from its first point on has no valley there.
                count += int(lowest < energies[0] - _NOISE or count > 0)
                is_falling, highest = False, energy
        else:
            highest = max(highest, energy)
            if energy < highest - _NOISE:
                is_falling, lowest = True, energy
    return count


def _fit(
    volumes: Float[np.ndarray, " points"], energies: Float[np.ndarray, " points"]
) -> tuple[float, float, float]:
    """Volume, bulk modulus in GPa, and the root mean square that the fit leaves, eV."""
    equation = EquationOfState(volumes, energies, eos="birchmurnaghan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a poor fit shows in what it leaves
        volume, _, modulus = equation.fit(warn=False)
    rest = energies - equation.func(volumes, *equation.eos_parameters)
    return float(volume), float(modulus / GPa), float(np.sqrt(np.mean(rest**2)))
