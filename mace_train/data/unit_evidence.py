"""What many frames together say about units and signs.

A stress in kBar or forces that are gradients look like any other numbers in one frame. Two
frames of one relaxation or strain scan give them away, since to second order

    E2 - E1 = - sum over atoms of F . du + V sigma : strain

with the means of both frames on the right. Where the data have no such neighbors,
magnitudes tell. Nothing is converted: the user gets the cure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

from mace_train.data.labels import EV_PER_UNIT, RUN_KEYS
from mace_train.data.plausibility import all_electron_energy

if TYPE_CHECKING:
    from mace_train.data.frame import Frame

MAX_RECORDS = 200  # of each kind from one reader: enough for medians, small beside a shard
MAX_COMPARED = 500  # pairs of frames looked at by one reader
MAX_MERGED = 10_000
MIN_RECORDS = 10
SMALL_DISPLACEMENT = 0.5  # Å
SMALL_STRAIN = 0.1
SMALLEST_WORK = 5e-3  # eV
LARGEST_MEDIAN_VIRIAL = 15.0
"""eV/atom: |stress| x volume. MPtrj has a median of 0.03, and 4 in its 215 most strained
frames; in kBar these would be 52 and 6,600."""

LARGEST_MEDIAN_FORCE = 20.0
"""eV/Å, rms over a frame. MPtrj has a median of 0.07, molecules at 600 K have 1.3."""

_ATOMIC_UNITS = ("hartree", "rydberg")  # whose forces are told per bohr
_KNOWN_RATIOS = {
    "the stress is in kBar with VASP's sign": -units.GPa / 10,
    "the stress is in kBar": units.GPa / 10,
    "the stress is in GPa": units.GPa,
    "the stress is in GPa, positive in compression": -units.GPa,
    "the stress has the opposite sign (positive in compression)": -1.0,
}


@dataclass
class UnitEvidence:
    """Records of some hundred frames of each reader, merged.

    Attributes:
        force_ratios: Change of the energy over the work of the forces; about 1.
        stress_ratios: The rest of it over the work of the stress; about 1.
        virials: |stress| x volume / atoms of single frames, eV.
        forces: Rms force of single frames, eV/Å.
        hartree_ratios: Energy over minus that of all electrons in hartree: 27.2 for
            all-electron energies in eV, 1 for those in hartree.
    """

    force_ratios: list[float] = field(default_factory=list)
    stress_ratios: list[float] = field(default_factory=list)
    virials: list[float] = field(default_factory=list)
    forces: list[float] = field(default_factory=list)
    hartree_ratios: list[float] = field(default_factory=list)
    _last: Frame | None = field(default=None, repr=False, compare=False)
    _num_compared: int = field(default=0, repr=False, compare=False)

    def add(self, frame: Frame) -> None:
        """Look at a frame, and at its predecessor in the file if that is its neighbor."""
        last, self._last = self._last, frame
        if len(self.virials) < MAX_RECORDS and frame.stress is not None:
            rms = float(np.sqrt(np.mean(frame.stress**2)))
            self.virials.append(rms * frame.volume / frame.num_atoms)
        if len(self.forces) < MAX_RECORDS and frame.forces is not None:
            self.forces.append(float(np.sqrt(np.mean(frame.forces**2))))
        if len(self.hartree_ratios) < MAX_RECORDS and frame.energy is not None:
            self._record_hartree_ratio(frame.energy, frame.atomic_numbers)
        if self._num_compared < MAX_COMPARED and last and _are_alike(last, frame):
            self._num_compared += 1
            self._compare(last, frame)

    def _record_hartree_ratio(self, energy: float, atomic_numbers: np.ndarray) -> None:
        """Only where several heavier elements make a coincidence unlikely."""
        if sum(number >= 6 for number in set(atomic_numbers.tolist())) > 1:
            self.hartree_ratios.append(-energy / all_electron_energy(atomic_numbers))

    def _compare(self, first: Frame, second: Frame) -> None:
        """Record how the change of energy compares with the work of forces and stress."""
        assert first.energy is not None
        assert second.energy is not None
        assert first.forces is not None
        assert second.forces is not None
        displacements, strain, volume = _displacements(first, second)
        if np.abs(displacements).max() > SMALL_DISPLACEMENT:
            return
        largest_strain = np.abs(strain).max()
        if largest_strain > SMALL_STRAIN:
            return
        change = second.energy - first.energy
        forces = (first.forces + second.forces) / 2
        work_of_forces = -float((forces * displacements).sum())
        if largest_strain < 1e-6:
            if max(abs(work_of_forces), abs(change)) > SMALLEST_WORK and work_of_forces:
                self.force_ratios.append(change / work_of_forces)
            return
        if first.stress is None or second.stress is None:
            return
        stress = (first.stress + second.stress) / 2
        work_of_stress = volume * float((stress * strain).sum())
        rest = change - work_of_forces
        if (
            abs(rest) > SMALLEST_WORK
            and abs(rest) > abs(work_of_forces) / 2
            and work_of_stress
        ):
            self.stress_ratios.append(rest / work_of_stress)

    def merge(self, other: UnitEvidence) -> None:
        """Add the records of another part of the data."""
        for name in _RECORDS:
            mine = getattr(self, name)
            mine.extend(getattr(other, name)[: MAX_MERGED - len(mine)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            name: [float(f"{value:.6g}") for value in getattr(self, name)]
            for name in _RECORDS
        }

    def verdicts(self, *, units_are_default: bool, max_force: float | None) -> list[str]:
        """What is wrong with the units, each with its cure; nothing if all is well.

        Args:
            units_are_default: Whether energies are taken to be in eV.
            max_force: The user's limit; with one, large forces are the user's own decision.
        """
        found = [self._stress_verdict(), self._forces_verdict()]
        if units_are_default:
            found.append(self._hartree_verdict())
        if max_force is None:
            found.append(self._force_size_verdict())
        return [verdict for verdict in found if verdict]

    def _stress_verdict(self) -> str:
        ratio = _clear_ratio(self.stress_ratios)
        if ratio is None:
            return self._stress_size_verdict()
        if 0.2 < ratio < 5:
            return ""
        told, factor = _explain_stress_ratio(ratio)
        return (
            f"the stress does not fit the energies{told}: between neighboring frames the "
            f"energy changes by {ratio:.3g} times what the stress says, in "
            f"{len(self.stress_ratios)} comparisons. mace-train wants eV/Å^3, positive in "
            f"tension: multiply the stress of the file by {factor:.6g}, or leave it out "
            "with data.stress_key=none."
        )

    def _stress_size_verdict(self) -> str:
        if len(self.virials) < MIN_RECORDS:
            return ""
        median = float(np.median(self.virials))
        if median < LARGEST_MEDIAN_VIRIAL:
            return ""
        return (
            f"the stress is too large to be in eV/Å^3 (stress x volume is {median:.3g} eV "
            f"an atom in the median of {len(self.virials)} frames, where 0.01 to 5 are "
            "usual): probably it is in kBar. Multiply VASP's kBar by "
            f"{-units.GPa / 10:.6g} (the sign too: positive in tension), or GPa by "
            f"{units.GPa:.6g}, or leave it out with data.stress_key=none."
        )

    def _forces_verdict(self) -> str:
        ratio = _clear_ratio(self.force_ratios)
        if ratio is None or (0.2 < ratio < 5 and not _are_per_bohr(self.force_ratios)):
            return ""
        if -2 < ratio < -0.5:
            told = "they have the opposite sign, as gradients have: multiply them by -1"
        else:
            told = f"the two are in different units{_explain_force_ratio(ratio)}: convert "
            told += "one of them in the file"
        return (
            "the forces do not fit the energies: between neighboring frames the energy "
            f"changes by {ratio:.3g} times what the forces say, in "
            f"{len(self.force_ratios)} comparisons. Either {told}, or these labels come "
            "from different calculations: name others with data.energy_key or "
            "data.forces_key (none leaves one out)."
        )

    def _hartree_verdict(self) -> str:
        ratios = np.array(self.hartree_ratios)
        if len(ratios) < MIN_RECORDS:
            return ""
        for unit in ("hartree", "rydberg"):
            expected = EV_PER_UNIT["hartree"] / EV_PER_UNIT[unit]
            share = np.mean((ratios > 0.97 * expected) & (ratios < 1.04 * expected))
            if share > 0.95:
                return (
                    f"the energies are those of all electrons in {unit}, within 4 % in "
                    f"{share:.0%} of {len(ratios)} frames, but are taken to be in eV: set "
                    f"data.units.energy={unit}."
                )
        return ""

    def _force_size_verdict(self) -> str:
        if len(self.forces) < MIN_RECORDS:
            return ""
        median = float(np.median(self.forces))
        if median < LARGEST_MEDIAN_FORCE:
            return ""
        return (
            f"the forces are too large to be in eV/Å (rms {median:.3g} in the median of "
            f"{len(self.forces)} frames, where 0.01 to 3 are usual): say the unit with "
            "data.units.energy=kcal/mol (or kJ/mol, meV, hartree, rydberg) and "
            "data.units.length, or, if they are right, give the largest you trust as "
            "data.max_force (eV/Å)."
        )


_RECORDS = ("force_ratios", "stress_ratios", "virials", "forces", "hartree_ratios")


def _are_alike(first: Frame, second: Frame) -> bool:
    """Whether two frames are the same atoms, with what a comparison needs."""
    return (
        first.num_atoms == second.num_atoms
        and first.energy is not None
        and second.energy is not None
        and first.forces is not None
        and second.forces is not None
        and first.source == second.source
        and _materials(first) == _materials(second)
        and bool((first.pbc == second.pbc).all())
        and bool((first.atomic_numbers == second.atomic_numbers).all())
    )


def _materials(frame: Frame) -> dict[str, str]:
    """The groups of a frame without runs: frames that are close may be of several."""
    return {key: name for key, name in frame.groups.items() if key not in RUN_KEYS}


def _displacements(first: Frame, second: Frame) -> tuple[np.ndarray, np.ndarray, float]:
    """Displacements beyond the strain (Å), the strain, and the mean volume (Å^3)."""
    if not first.pbc.all():
        moved = second.positions - first.positions
        return moved - moved.mean(axis=0), np.zeros((3, 3)), 0.0
    mean_cell = (first.cell + second.cell) / 2
    moved = second.positions @ np.linalg.inv(second.cell)
    moved -= first.positions @ np.linalg.inv(first.cell)
    moved -= np.rint(moved)
    moved -= moved.mean(axis=0)
    strain = np.linalg.inv(mean_cell) @ (second.cell - first.cell)
    strain = (strain + strain.T) / 2
    return moved @ mean_cell, strain, abs(float(np.linalg.det(mean_cell)))


def _clear_ratio(ratios: list[float]) -> float | None:
    """The median of ratios, if there are enough and their middle half agrees on it."""
    if len(ratios) < MIN_RECORDS:
        return None
    low, median, high = np.percentile(ratios, [25, 50, 75])
    return float(median) if low * high > 0 and 1 / 3 < low / high < 3 else None


def _are_per_bohr(force_ratios: list[float]) -> bool:
    """Whether forces per bohr stand beside positions in Å: three quarters agree on it."""
    low, high = np.percentile(force_ratios, [12.5, 87.5]) * units.Bohr
    return bool(low > 0.9 and high < 1.1)


def _explain_force_ratio(ratio: float) -> str:
    """Which units of energy and forces make the one change by so much of the other."""
    factors = {
        (energy, f"{forces}/{length}"): EV_PER_UNIT[forces] / EV_PER_UNIT[energy] / size
        for energy, forces in product(EV_PER_UNIT, repeat=2)
        for length, size in (("Å", 1.0), ("bohr", units.Bohr))
        if (length == "bohr") == (forces in _ATOMIC_UNITS)
    }
    (energy, forces), factor = min(
        factors.items(), key=lambda item: abs(np.log(abs(ratio) / item[1]))
    )
    if not 0.8 < ratio / factor < 1.25:
        return ""
    return f" (as energies in {energy} are beside forces in {forces})"


def _explain_stress_ratio(ratio: float) -> tuple[str, float]:
    """What the ratio of works says about the stress, and the factor that mends it."""
    for name, known in _KNOWN_RATIOS.items():
        if 0.5 < ratio / known < 2:
            return f" ({name})", known
    return "", ratio
