"""`TripWires`: limits that end a run before it computes nonsense for hours.

Floor 3. A potential that leaves the ground of its data shows it: atoms fall into each
other, the temperature runs away, energy appears from nowhere. The wires are looked at after
every step, so that the message names the very step and the frames before it are at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

    from mace_train.simulation.observables import Observables


class TripWireError(RuntimeError):
    """A run has left what its potential can describe; the message says where and why."""


@dataclass(frozen=True)
class TripWires:
    """Limits of a run; one that is None is not watched. NaN and infinity always end a run.

    Args:
        min_distance: Smallest distance of two atoms, in sums of their covalent radii.
        temperature: Smallest and largest temperature as factors of the thermostat's (at
            constant energy: of the last known). After a jump of the thermostat's the
            factors are of the lower and the higher of old and new, until the atoms have
            followed. Six standard deviations of the canonical ensemble are granted beyond,
            since few atoms fluctuate much.
        drift: Largest change of the conserved energy, meV/atom ...
        drift_rate: ... and what is granted besides for every ps, meV/atom/ps.
        lost: An atom that had company at the beginning and has none within this many sums
            of covalent radii is lost. Looked at when a row is logged.

    Raises:
        ValueError: If a limit cannot be meant.
    """

    min_distance: float | None = 0.6
    temperature: tuple[float, float] | None = (0.25, 2.0)
    drift: float | None = 10.0
    drift_rate: float = 1.0
    lost: float | None = 3.0

    def __post_init__(self) -> None:
        if self.min_distance is not None and not 0 < self.min_distance < 1:
            raise ValueError(
                f"min_distance={self.min_distance}: give a share of the sum of covalent "
                "radii between 0 and 1, such as 0.6, or None"
            )
        if self.temperature is not None:
            low, high = self.temperature
            if not 0 <= low < 1 < high:
                raise ValueError(
                    f"temperature=({low}, {high}): give one factor below and one above 1, "
                    "such as (0.25, 2), or None"
                )
        for name in ("drift", "lost"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}: give a number above 0, or None")
        if not self.drift_rate >= 0:
            raise ValueError(f"drift_rate={self.drift_rate}: give 0 or more")

    def check(
        self, seen: Observables, atoms: Atoms, *, reference: tuple[float, float], dof: int
    ) -> None:
        """Look at all wires but ``lost``.

        Args:
            seen: The numbers of the step.
            atoms: To name the closest pair.
            reference: Temperatures that the window is around, in any order, K.
            dof: Degrees of freedom.

        Raises:
            TripWireError: If a wire is tripped.
        """
        for complaint in (
            self._distance(seen, atoms),
            self._temperature(seen, reference, dof),
            self._drift(seen),
        ):
            if complaint:
                raise TripWireError(f"step {seen.step} ({seen.time:.4g} ps): {complaint}")

    def _distance(self, seen: Observables, atoms: Atoms) -> str:
        pair = seen.closest
        if pair is None or self.min_distance is None:
            return ""
        if pair.distance >= self.min_distance * pair.contact:
            return ""
        names = atoms.get_chemical_symbols()
        who = f"{names[pair.first]} {pair.first} and {names[pair.second]} {pair.second}"
        return (
            f"{who} are {pair.distance:.3f} Å apart, less than min_distance="
            f"{self.min_distance:g} times the sum of their covalent radii, "
            f"{pair.contact:.2f} Å"
        )

    def _temperature(
        self, seen: Observables, reference: tuple[float, float], dof: int
    ) -> str:
        if self.temperature is None:
            return ""
        margin = 6.0 * math.sqrt(2.0 / dof)  # of a canonical ensemble's temperature
        low = min(reference) * self.temperature[0] * max(0.0, 1.0 - margin)
        high = max(reference) * self.temperature[1] * (1.0 + margin)
        if low <= seen.temperature <= high:
            return ""
        around = " to ".join(dict.fromkeys(f"{kelvin:.0f}" for kelvin in sorted(reference)))
        return (
            f"the temperature is {seen.temperature:.0f} K, outside {low:.0f} to "
            f"{high:.0f} K (temperature={self.temperature} times {around} K, and "
            "fluctuations)"
        )

    def _drift(self, seen: Observables) -> str:
        if self.drift is None:
            return ""
        granted = self.drift + self.drift_rate * seen.time
        if abs(seen.drift) <= granted:
            return ""
        return (
            f"the conserved energy has changed by {seen.drift:.1f} meV/atom, more than "
            f"{granted:.1f} (drift={self.drift:g} and drift_rate={self.drift_rate:g} a ps)"
        )


def check_finite(step: int, time: float, atoms: Atoms, forces: np.ndarray) -> None:
    """Stop at the first number that is not one.

    Args:
        step: Steps done.
        time: ps.
        atoms: With a calculator that knows their energy.
        forces: eV/Å.

    Raises:
        TripWireError: If an energy, a force or a position is NaN or infinite.
    """
    bad = ~np.isfinite(np.hstack([forces, atoms.positions, atoms.get_momenta()])).all(
        axis=1
    )
    where = f"step {step} ({time:.4g} ps):"
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise TripWireError(
            f"{where} force, position or velocity of {int(bad.sum())} of {len(atoms)} "
            f"atoms is NaN or infinite, first of {atoms.symbols[first]} {first}"
        )
    if not math.isfinite(energy := atoms.get_potential_energy()):
        raise TripWireError(f"{where} the energy is {energy}")


def check_lost(seen: Observables, atoms: Atoms, lost: np.ndarray, *, reach: float) -> None:
    """Stop if an atom has flown away.

    Args:
        seen: The numbers of the step.
        atoms: To name the atom.
        lost: Which atoms had company at the beginning and have none now.
        reach: What counts as company, in sums of covalent radii.

    Raises:
        TripWireError: If there is one.
    """
    if not lost.any():
        return
    first = int(np.flatnonzero(lost)[0])
    raise TripWireError(
        f"step {seen.step} ({seen.time:.4g} ps): {int(lost.sum())} of {len(atoms)} atoms "
        f"are lost, first {atoms.symbols[first]} {first}: nothing is within lost={reach:g} "
        "times the sum of covalent radii"
    )
