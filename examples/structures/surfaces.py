"""fcc(111) slabs and what adsorbs on them; with the teacher's frames of O and OH.

For adsorption_scaling.py and co_oxidation.py. Cells are 2x2 atoms and three layers, the
lower two fixed. Lattice constants are CHGNet's, for the model and its teacher alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ase import Atoms
from ase.build import add_adsorbate, fcc111, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixedLine
from ase.optimize import BFGS
from teacher import Lesson

METALS = {
    "Cu": 3.617,
    "Ag": 4.159,
    "Au": 4.171,
    "Pd": 3.953,
    "Pt": 3.976,
    "Ni": 3.503,
    "Rh": 3.847,
}
"""Lattice constants, Å."""
HEIGHTS = {"fcc": {"CO": 1.4, "O": 1.25, "OH": 1.45}, "top": {"CO": 1.85}}
"""Of the lowest atom above the top layer to begin with, Å."""
POSITIONS = {"fcc": "fcc", "top": (0.0, 0.0)}
"""As ASE's add_adsorbate takes them."""
REFERENCES = {"O": {"H2O": 1.0, "H2": -1.0}, "OH": {"H2O": 1.0, "H2": -0.5}}
"""The molecules that an adsorbate's energy is relative to, unless others are given."""
Place = tuple[str, str, str]
"""Metal, adsorbate, site."""


# The structures
def clean(metal: str) -> Atoms:
    """A slab whose upper layer is free."""
    slab = fcc111(metal, (2, 2, 3), a=METALS[metal], vacuum=7.0, periodic=True)
    slab.set_constraint(FixAtoms(mask=slab.get_tags() > 1))
    return slab


def in_box(name: str) -> Atoms:
    """A molecule in a periodic box of 10 Å."""
    atoms = molecule(name, cell=[10.0] * 3, pbc=True)
    atoms.center()
    return atoms


def covered(slab: Atoms, adsorbate: str, site: str) -> Atoms:
    """A slab with an upright adsorbate that moves along the normal of its site."""
    above = {"CO": Atoms("CO"), "O": Atoms("O"), "OH": Atoms("OH")}[adsorbate]
    above.positions[1:, 2] = {"CO": 1.16, "O": 0.0, "OH": 0.97}[adsorbate]
    atoms = slab.copy()
    add_adsorbate(atoms, above, HEIGHTS[site][adsorbate], POSITIONS[site])
    line = FixedLine(list(range(len(slab), len(atoms))), [0, 0, 1])
    atoms.set_constraint([*slab.constraints, line])
    return atoms


# What is done with them
def relaxed(
    atoms: Atoms,
    calculator: Calculator,
    *,
    fmax: float = 0.03,
    steps: int = 200,
    way: list[Atoms] | None = None,
) -> Atoms:
    """A relaxed copy with its energy and forces; every fourth step goes into `way`."""
    atoms = atoms.copy()
    atoms.calc = calculator
    optimizer = BFGS(atoms, logfile=None)
    if way is not None:
        optimizer.attach(lambda: way.append(atoms.copy()), interval=4)
    optimizer.run(fmax=fmax, steps=steps)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def adsorption_energies(
    calculator: Calculator,
    places: Iterable[Place],
    *,
    steps: int = 200,
    references: dict[str, dict[str, float]] = REFERENCES,
) -> dict[Place, float]:
    """Energies of relaxed adsorbates, eV, relative to clean slabs and molecules."""
    slabs: dict[str, Atoms] = {}
    gases: dict[str, float] = {}
    found = {}
    for metal, adsorbate, site in places:
        if metal not in slabs:
            slabs[metal] = relaxed(clean(metal), calculator, steps=steps)
        for name in references[adsorbate].keys() - gases.keys():
            gas = relaxed(in_box(name), calculator, steps=steps)
            gases[name] = gas.get_potential_energy()
        reference = sum(n * gases[name] for name, n in references[adsorbate].items())
        atoms = relaxed(covered(slabs[metal], adsorbate, site), calculator, steps=steps)
        energy = atoms.get_potential_energy() - slabs[metal].get_potential_energy()
        found[metal, adsorbate, site] = float(energy - reference)
    return found


# What the teacher labels
def on_a_metal(metal: str, calculator: Calculator) -> list[Lesson]:
    """The slab, and O and OH in its hollow: as they relax, distorted, lower and higher."""
    way: list[Atoms] = []
    slab = relaxed(clean(metal), calculator)
    made = [Lesson(slab, 8, rattle=0.08)]
    for adsorbate, copies in ("O", 10), ("OH", 16):
        atoms = relaxed(covered(slab, adsorbate, "fcc"), calculator, way=way)
        made.append(Lesson(atoms, copies, rattle=0.08))
        # Else a model may find a minimum that is not there.
        for height in (-0.15, 0.2, 0.4, 0.6, 0.8):  # Å
            moved = atoms.copy()
            moved.positions[len(slab) :, 2] += height
            made.append(Lesson(moved, 2 if adsorbate == "OH" else 1, rattle=0.05))
    return [*made, *(Lesson(atoms, 1, rattle=0.0) for atoms in way)]


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """Some 460 frames of 2 to 14 atoms."""
    gases = [relaxed(in_box(name), calculator) for name in ("H2", "H2O")]
    slabs = [lesson for metal in METALS for lesson in on_a_metal(metal, calculator)]
    return [*(Lesson(gas, 12, rattle=0.04) for gas in gases), *slabs]
