"""CO2 on In2O3(110): bulk, slab of four layers, molecule, and two ways to adsorb.

Bixbyite after Marezio, Acta Cryst. 20, 723 (1966), with CHGNet's lattice constant. Each
layer of (110) is stoichiometric; the slab is cut between two of them. It has half the area
of the (1x1) cell of the literature: 40 atoms, oblique.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule, surface
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import FIRE
from ase.spacegroup import crystal
from teacher import Lesson, jostled, own_calculator

LATTICE = 10.294  # Å, as CHGNet relaxes the bulk; measured 10.117
VACUUM = 13.0  # Å
SITE = 38  # the surface oxygen above which CO2 adsorbs

# C, O, O from that oxygen, Å: a carbonate as CHGNet relaxes it (one of its oxygens 2.1 Å
# from an indium, O-C-O 126 degrees), and a linear molecule that lies flat above.
PLACES = {
    "chemisorbed": [[-0.04, -0.29, 1.34], [1.25, -0.49, 1.54], [-0.90, -0.27, 2.20]],
    "physisorbed": [[0.0, 0.0, 3.2], [1.10, -0.42, 3.2], [-1.10, 0.42, 3.2]],
}


def bulk_oxide() -> Atoms:
    """The primitive cell of bixbyite, 40 atoms."""
    return crystal(
        ["In", "In", "O"],
        [(0.25, 0.25, 0.25), (0.4662, 0, 0.25), (0.3905, 0.1529, 0.3832)],
        spacegroup=206,
        cellpar=[LATTICE] * 3 + [90] * 3,
        primitive_cell=True,
    )


def slab() -> Atoms:
    """Four layers of (110), the lower two fixed; not relaxed."""
    bulk = bulk_oxide()
    # The third vector of this primitive cell's reciprocal lattice is the cubic [110].
    atoms = surface(bulk, (0, 0, 1), 2)
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    thickness = bulk.cell.volume / area  # of four layers
    height = atoms.positions[:, 2] - atoms.positions[:, 2].min()
    start = thickness / 8  # half-way between two layers
    atoms = atoms[(height > start) & (height < start + thickness)]
    atoms.positions[:, 2] -= atoms.positions[:, 2].min() - 0.3
    cell = [*atoms.cell[:2], [0, 0, thickness + VACUUM]]
    atoms = Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True)
    atoms.set_constraint(FixAtoms(mask=atoms.positions[:, 2] < thickness / 2))
    return atoms


def carbon_dioxide() -> Atoms:
    """The molecule in a box of 12 Å."""
    atoms = molecule("CO2", cell=[12.0] * 3, pbc=True)
    atoms.center()
    return atoms


def with_molecule(clean: Atoms, how: str) -> Atoms:
    """A relaxed slab with CO2 above its oxygen SITE, as one of PLACES; not relaxed."""
    atoms = clean.copy()
    return atoms + Atoms(["C", "O", "O"], clean.positions[SITE] + np.array(PLACES[how]))


def relaxed(
    atoms: Atoms,
    calculator: Calculator,
    fmax: float = 0.05,
    steps: int = 150,
    seen: list[Atoms] | None = None,
) -> Atoms:
    """The nearest minimum, with the calculator; every 15th step is added to `seen`."""
    atoms = atoms.copy()
    atoms.calc = calculator
    relaxation = FIRE(atoms, logfile=None)
    if seen is not None:
        relaxation.attach(lambda: seen.append(atoms.copy()), interval=15)
    relaxation.run(fmax=fmax, steps=steps)
    return atoms


def band(
    start: Atoms, end: Atoms, between: int, fmax: float = 0.1, steps: int = 100
) -> list[Atoms]:
    """Images between two relaxed structures, relaxed with the calculator of `start`.

    Without steps: interpolated.
    """
    images = [start, *(start.copy() for _ in range(between)), end]
    for image in images:
        image.calc = own_calculator(start.calc)
    path = NEB(images, climb=True, method="improvedtangent")
    path.interpolate(method="idpp", mic=True)
    if steps:
        FIRE(path, logfile=None).run(fmax=fmax, steps=steps)
    return images


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """Frames around the teacher's minima, on the way to them and along its band."""
    seen: list[Atoms] = []
    clean = relaxed(slab(), calculator, fmax=0.03, seen=seen)
    ends = [
        relaxed(with_molecule(clean, how), calculator, fmax=0.03, seen=seen)
        for how in ("physisorbed", "chemisorbed")
    ]
    # A model's band is not CHGNet's: images before and after they are relaxed.
    bands = [band(*ends, between=7, steps=steps)[1:-1] for steps in (0, 15)]
    images = [atoms for path in bands for atoms in path]
    gas = relaxed(carbon_dioxide(), calculator)
    return [
        Lesson(bulk_oxide(), 6, rattle=0.08, volume=0.03, strain=0.01),
        Lesson(gas, 12, rattle=0.08),
        Lesson(clean, 24, rattle=0.05),
        *(Lesson(atoms, 1, rattle=0.0) for atoms in seen),
        *(Lesson(atoms, 16, rattle=0.05) for atoms in ends),
        *(copy for n, atoms in enumerate(ends) for copy in jostled(atoms, 40, 8, 50 + n)),
        *(Lesson(atoms, 2, rattle=0.06) for atoms in images),
        *(copy for n, atoms in enumerate(images) for copy in jostled(atoms, 40, 6, n)),
    ]
