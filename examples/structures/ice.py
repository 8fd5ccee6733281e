"""Thirteen ice polymorphs (DMC-ICE13), their molecules moved, and the molecule alone."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.optimize import FIRE
from scipy.spatial.transform import Rotation
from teacher import Lesson

ATOMS_OF_A_PHASE = 900  # labelled, all frames of it together
REFERENCE = "Ih"  # all energies are relative to it: it gets twice as many


def existing(data_dir: Path, name: str) -> Path:
    """A file of the data, or one line and the end."""
    path = data_dir / "apps" / name
    if not path.is_file():
        sys.exit(f"error: {path} not found; give the folder of apps/ with --data-dir")
    return path


def polymorphs(data_dir: Path) -> dict[str, Atoms]:
    """The cells by the name of their phase."""
    frames = ase.io.read(existing(data_dir, "ice13.extxyz"), ":")
    return {atoms.info["phase"]: atoms for atoms in frames}


def published(data_dir: Path, phases: Iterable[str]) -> dict[str, np.ndarray]:
    """Lattice energies of the phases by the name of the method, kJ/mol of a molecule."""
    path = existing(data_dir, "ice13_lattice_energies.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        row["method"]: np.array([float(row[phase]) for phase in phases]) for row in rows
    }


def water(calculator: Calculator, *, box: float, steps: int = 200) -> Atoms:
    """The molecule as the calculator relaxes it, in a periodic box, as CHGNet asks for."""
    atoms = molecule("H2O", cell=[box] * 3, pbc=True)
    atoms.center()
    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=0.005, steps=steps)
    return atoms


def molecules(atoms: Atoms) -> np.ndarray:
    """Oxygen and its two hydrogens, as (molecules, 3) indices."""
    oxygen = np.flatnonzero(atoms.numbers == 8)
    hydrogen = np.flatnonzero(atoms.numbers == 1)
    rows = [atoms.get_distances(o, hydrogen, mic=True) for o in oxygen]
    return np.array([[o, *hydrogen[np.argsort(row)[:2]]] for o, row in zip(oxygen, rows)])


def shaken(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """A copy in a strained cell, each molecule moved and turned as a rigid body.

    Atoms that move on their own stretch bonds, which costs more than all that holds
    molecules together: energies between phases would drown in it.
    """
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    size = rng.uniform(0.0, 1.0)
    strain = rng.normal(0, 0.01, (3, 3))
    strain = (strain + strain.T) / 2 + rng.uniform(-0.02, 0.015) * np.eye(3)
    copy.set_cell(copy.cell @ (np.eye(3) + strain))
    for o, *hs in molecules(atoms):
        bonds = atoms.get_distances(o, hs, mic=True, vector=True)
        turn = Rotation.from_rotvec(rng.normal(0, 0.1 * size, 3))
        center = atoms.positions[o] @ (np.eye(3) + strain)
        copy.positions[o] = center + rng.normal(0, 0.08 * size, 3)
        copy.positions[hs] = copy.positions[o] + turn.apply(bonds)
    copy.positions += rng.normal(0, 0.02 * size, copy.positions.shape)
    return copy


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """399 frames; none is one of the cells themselves, which the example asks for.

    Copies come shaken; the teacher's rattle is for those that must be drawn again.
    """
    rng = np.random.default_rng(0)
    found = [Lesson(water(calculator, box=10.0), 12, rattle=0.08)]
    for phase, atoms in polymorphs(data_dir).items():
        copies = ATOMS_OF_A_PHASE * (2 if phase == REFERENCE else 1) // len(atoms)
        found += [Lesson(shaken(atoms, rng), 1, rattle=0.01) for _ in range(copies)]
    return found
