"""Copper, titanium and their oxides, and energies with and without MP2020's corrections.

Crystals are built from measured lattice parameters. The teacher's energies are on the scale
of the Materials Project's corrected energies (MP2020), those of MPtrj and of the models
trained on it are not. `own_labels` takes the corrections off, so that a model learns the
kind of energy that MPtrj has; examples/pourbaix.py puts them on again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from ase.spacegroup import crystal
from teacher import Lesson

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry

KJ_PER_MOL = units.kJ / units.mol
OXYGEN = (
    -4.94796
)  # eV per atom: O2 in PBE (Materials Project), which MP2020 leaves as it is
ENTROPY = 0.31673  # eV per atom of O2: T S at 298 K, as in pymatgen's aqueous scheme

# Of formation, measured at 298 K (CRC Handbook of Chemistry and Physics).
ENTHALPIES = {"Cu2O": -168.6, "CuO": -157.3, "Ti2O3": -1520.9, "TiO2, rutile": -944.0}
"""kJ/mol of formula units."""
FREE_ENERGIES = {"CuO": -129.7 * KJ_PER_MOL, "TiO2, rutile": -888.8 * KJ_PER_MOL}
"""eV for a formula unit."""


def crystals() -> dict[str, Atoms]:
    """Elements and oxides at measured lattice parameters; the same phase has one name."""
    return {
        "Cu": bulk("Cu", "fcc", a=3.615, cubic=True),
        "Cu2O": crystal(
            ["Cu", "O"],
            [(0.25, 0.25, 0.25), (0, 0, 0)],
            spacegroup=224,
            cellpar=[4.2696] * 3 + [90] * 3,
        ),
        "CuO": crystal(
            ["Cu", "O"],
            [(0.25, 0.25, 0), (0, 0.4184, 0.25)],
            spacegroup=15,
            cellpar=[4.6837, 3.4226, 5.1288, 90, 99.54, 90],
        ),
        "Ti": bulk("Ti", "hcp", a=2.951, c=4.684) * (2, 2, 1),
        "TiO": bulk("TiO", "rocksalt", a=4.177, cubic=True),
        "Ti2O3": crystal(
            ["Ti", "O"],
            [(0, 0, 0.3447), (0.3131, 0, 0.25)],
            spacegroup=167,
            cellpar=[5.158, 5.158, 13.611, 90, 90, 120],
            primitive_cell=True,
        ),
        "TiO2, rutile": crystal(
            ["Ti", "O"],
            [(0, 0, 0), (0.3053, 0.3053, 0)],
            spacegroup=136,
            cellpar=[4.5937, 4.5937, 2.9587, 90, 90, 90],
        ),
        "TiO2, anatase": crystal(
            ["Ti", "O"],
            [(0, 0, 0), (0, 0, 0.2081)],
            spacegroup=141,
            cellpar=[3.7845, 3.7845, 9.5143, 90, 90, 90],
            primitive_cell=True,
        ),
    }


def relaxed(atoms: Atoms, calculator: Calculator, steps: int = 150) -> Atoms:
    """Positions and cell of least energy, with the calculator."""
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    atoms.calc = calculator
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=steps)
    return atoms


def correction(atoms: Atoms) -> float:
    """MP2020's correction of the energy, eV: -0.687 for each O of an oxide, else nothing.

    Neither Cu nor Ti has a Hubbard U in the Materials Project, so there is no other term.
    """
    from pymatgen.core import Composition
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedEntry

    entry = ComputedEntry(
        Composition(atoms.get_chemical_formula()),
        0.0,
        parameters={"run_type": "GGA"},
        # By distance a rattled frame could be taken for a peroxide.
        data={"oxide_type": "oxide"},
    )
    scheme = MaterialsProject2020Compatibility(check_potcar=False)
    return float(sum(term.value for term in scheme.get_adjustments(entry)))


def formation(entries: dict[str, ComputedEntry], name: str, entropy: float = 0.0) -> float:
    """Energy of a formula unit from the metal and O2, eV; a free energy with ENTROPY."""
    entry = entries[name]
    composition, number = entry.composition.get_reduced_composition_and_factor()
    metal = next(str(element) for element in composition if str(element) != "O")
    elements = composition[metal] * entries[metal].energy_per_atom
    elements += composition["O"] * (OXYGEN - entropy)
    return entry.energy / number - elements


def own_labels(atoms: Atoms) -> Atoms:
    """The frame with the teacher's energy less MP2020's correction, as in MPtrj."""
    atoms.calc.results["energy"] -= correction(atoms)
    atoms.info["energy_kind"] = "uncorrected"
    return atoms


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """288 frames around the crystals as the teacher relaxes them."""
    return [
        Lesson(relaxed(atoms, calculator), 36, rattle=0.08, volume=0.05, strain=0.015)
        for atoms in crystals().values()
    ]
