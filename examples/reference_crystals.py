"""Silicon and rock salt: their cells, what is published of them, and their teacher.

For phonons.py and elastic_constants.py. Silicon's model learned PBE (mlearn), rock salt's
CHGNet 0.3.0, which is not DFT; so the first is held against DFT or measurements, the second
against CHGNet itself.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

_ELASTIC = "DFT; measured {} (doi:10.1038/s41524-024-01390-8)"


@dataclass(frozen=True)
class ReferenceCrystal:
    """A crystal and what is known of it.

    Attributes:
        structure: ASE's name of the prototype.
        a: Lattice constant to begin with, Å.
        per_cell: Formula units of the primitive cell.
        displacement: For force constants, Å. CHGNet's energy of rock salt is rough: the
            force constant of its optical mode is -0.1 eV/Å^2 at 0.002 Å, 0.2 at 0.01 and
            0.9 at 0.04 and 0.08; that of a model which learned its labels is 1.0 at all.
        reference: Values that a model of DFT labels should have: a (Å), heat (J/mol/K at
            298 K), bulk, c11, c12, c44 (GPa); empty where a teacher is asked instead.
        published: What is printed beside a figure.
    """

    structure: str
    a: float
    per_cell: int
    displacement: float = 0.01
    reference: dict[str, float] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)


CRYSTALS = {
    "Si": ReferenceCrystal(
        "diamond",
        5.43,
        2,
        reference={
            "a": 5.469,
            "heat": 19.79,
            "bulk": 89.0,
            "c11": 153.1,
            "c12": 57.0,
            "c44": 74.3,
        },
        published={
            "a": "5.469 Å, PBE; measured 5.431",
            "heat": "19.79, measured at constant pressure (CRC Handbook)",
            "optical": "15.6, measured (Raman, 520/cm)",
            "bulk": f"89.0, {_ELASTIC.format('98')}",
            "c11": f"153.1, {_ELASTIC.format('165')}",
            "c12": f"57.0, {_ELASTIC.format('65')}",
            "c44": f"74.3, {_ELASTIC.format('79.2')}",
        },
    ),
    "NaCl": ReferenceCrystal(
        "rocksalt",
        5.64,
        1,
        displacement=0.08,
        published={"heat": "50, measured at constant pressure"},
    ),
}


def relaxed(name: str, calculator: Calculator) -> Atoms:
    """The cubic cell of 8 atoms, relaxed, with its calculator."""
    crystal = CRYSTALS[name]
    atoms = bulk(name, crystal.structure, a=crystal.a, cubic=True)
    atoms.calc = calculator
    if not LBFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=2e-3, steps=200):
        sys.exit(f"error: {name} does not relax: was the model trained on it?")
    return atoms


def teacher_of(name: str) -> Calculator | None:
    """CHGNet where the labels are its own, else None."""
    if CRYSTALS[name].reference:
        return None
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def beside_teacher(name: str, values: dict[str, float]) -> dict[str, str]:
    """What is printed beside a figure: the teacher's value, and what is published."""
    published = CRYSTALS[name].published
    return {
        key: "; ".join(
            [f"{value:.4g}, CHGNet", *([published[key]] if key in published else [])]
        )
        for key, value in values.items()
    }
