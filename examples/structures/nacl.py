"""Rock salt: distorted copies of its cubic cell, once and twice as long."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from teacher import Lesson


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """240 frames around the crystal as the teacher relaxes it."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.calc = calculator
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.005, steps=200)
    cell = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    return [
        Lesson(cell * repeat, 120, rattle=0.15, volume=0.06, strain=0.015)
        for repeat in ((1, 1, 1), (2, 1, 1))
    ]
