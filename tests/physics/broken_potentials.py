"""A pair potential that obeys every law, and what becomes of it with one defect each."""

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress

from mace_train.physics.limits import limits_for
from mace_train.physics.pairs import all_pairs
from mace_train.physics.potential import Potential
from mace_train.physics.setting import Setting

R_MAX = 6.0
CU, AU = 29, 79


class Good(Calculator):
    """Morse's potential with a smooth cutoff; the bond is 0.95 of the covalent radii."""

    implemented_properties = ("energy", "energies", "forces", "stress")
    depth, decay = 0.4, 1.6

    def cutoff(self, x):
        """Smooth step from 1 to 0 and its derivative, of the distance over r_max."""
        step = 1 - 10 * x**3 + 15 * x**4 - 6 * x**5
        return step, -30 * x**2 * (1 - x) ** 2

    def pair(self, r, length):
        """Energy and its derivative."""
        wave = np.exp(-self.decay * (r - length))
        energy = self.depth * (wave**2 - 2 * wave)
        slope = -2 * self.decay * self.depth * (wave**2 - wave)
        step, step_slope = self.cutoff(r / R_MAX)
        return energy * step, slope * step + energy * step_slope / R_MAX

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        first, second, r, vector = neighbor_list("ijdD", self.atoms, R_MAX)
        radii = covalent_radii[self.atoms.numbers]
        energy, slope = self.pair(r, 0.95 * (radii[first] + radii[second]))
        node = np.zeros(len(self.atoms))
        np.add.at(node, first, 0.5 * energy)
        push = (slope / r)[:, None] * vector
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, first, push)
        self.results = {"energies": node, "forces": forces, "energy": node.sum()}
        if self.atoms.pbc.all():
            stress = 0.5 * push.T @ vector / self.atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        self.spoil(self.results, self.atoms)

    def spoil(self, results, atoms):
        """Overridden by the broken ones."""


class Oblique(Good):
    def spoil(self, results, atoms):
        results["forces"] *= [1.0, 1.0, 1.01]


class Chiral(Good):
    """Forces with a part that turns along, but does not change sign in a mirror."""

    def spoil(self, results, atoms):
        first, r, vector = neighbor_list("idD", atoms, R_MAX)
        near, far = np.zeros((2, len(atoms), 3))
        np.add.at(near, first, vector * np.exp(-r)[:, None])
        np.add.at(far, first, vector * np.exp(-r / 2)[:, None])
        results["forces"] += 0.1 * np.cross(near, far)


class Placed(Good):
    def spoil(self, results, atoms):
        results["energy"] += 1e-3 * np.sin(atoms.positions).sum()


class Unwrapped(Good):
    """Counts atoms outside of their cell."""

    def spoil(self, results, atoms):
        if atoms.pbc.any():
            places = atoms.cell.scaled_positions(atoms.positions)
            results["energy"] += 1e-3 * (np.floor(places) != 0).sum()


class Ordered(Good):
    def spoil(self, results, atoms):
        weights = 1 + 1e-3 * np.arange(len(atoms))
        results["energy"] = float(results["energies"] @ weights)


class WrongSign(Good):
    def spoil(self, results, atoms):
        results["forces"] *= -1
        if "stress" in results:
            results["stress"] = -results["stress"]


class Direct(Good):
    """Forces that are predicted, not derived: some percent off."""

    def spoil(self, results, atoms):
        results["forces"] += 0.1 * results["forces"] ** 2


class Squared(Good):
    """Not extensive."""

    def spoil(self, results, atoms):
        results["energy"] += 1e-3 * len(atoms) ** 2


class Charged(Good):
    """Reaches much further than it says, where nothing is periodic."""

    def spoil(self, results, atoms):
        if atoms.pbc.any() or len(atoms) == 1:
            return
        vectors = atoms.positions[:, None] - atoms.positions
        r = np.linalg.norm(vectors, axis=2) + np.diag(np.full(len(atoms), np.inf))
        results["energies"] = results["energies"] + 0.05 * (1 / r).sum(axis=1)
        results["energy"] = results["energies"].sum()
        results["forces"] += (0.1 * vectors / r[:, :, None] ** 3).sum(axis=1)


class Cut(Good):
    """A sphere without an envelope."""

    def cutoff(self, x):
        return np.ones_like(x), np.zeros_like(x)


class Kinked(Good):
    """Energy and force are continuous at the cutoff, the slope of the force is not."""

    def cutoff(self, x):
        return (1 - x) ** 2, -2 * (1 - x)


class Hollow(Good):
    """Attractive below 1 Å."""

    def pair(self, r, length):
        energy, slope = super().pair(r, length)
        hole = 1e4 * np.exp(-((r / 0.5) ** 2))
        return energy - hole, slope + 8 * r * hole


class Wavy(Good):
    """Energies with waves in the volume."""

    waves, height = 200.0, 3e-3

    def spoil(self, results, atoms):
        if atoms.pbc.all():
            length = np.log(atoms.get_volume() / len(atoms))
            results["energy"] += self.height * len(atoms) * np.sin(self.waves * length)


class TwoPhases(Wavy):
    waves, height = 40.0, 0.3


class Failing(Good):
    def spoil(self, results, atoms):
        raise RuntimeError("CUDA error: out of memory\nand more lines")


class NotANumber(Good):
    def spoil(self, results, atoms):
        results["energy"] = float("nan")
        results["forces"] *= np.nan


class OnlyTotal(Good):
    """As many codes: neither energies of atoms nor a stress."""

    implemented_properties = ("energy", "forces")

    def spoil(self, results, atoms):
        del results["energies"]
        results.pop("stress", None)


def potential_of(calculator, **known):
    return Potential(calculator, **({"r_max": R_MAX, "num_interactions": 1} | known))


def setting_of(calculator, structures=None, **options):
    """A calculator on two crystals, with the limits of float64."""
    known = {k: options.pop(k) for k in ("r_max", "num_interactions") if k in options}
    if structures is None:
        structures = (bulk("Cu"), bulk("CuAu", "rocksalt", a=5.2))
    chosen = {"pairs": all_pairs([CU, AU])} | options
    potential = potential_of(calculator, **known)
    return Setting(potential, tuple(structures), limits_for("float64"), **chosen)


def passes(check, calculator, *args, **options):
    """Whether all that a check measures is right."""
    findings = check(setting_of(calculator, *args, **options))
    return all(measured.is_right for measured in findings.measurements)
