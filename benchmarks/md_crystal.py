"""The crystal of `md.py`: a rattled perovskite of seven elements, with velocities.

(Ba, Sr)(Ti, Zr, Hf, Sn)O3 with its sites filled at random, as in high-entropy perovskites;
a = 4.19 Å, as in BaZrO3, gives 61 neighbors within 6 Å. Needs numpy and ASE alone, so that
the environments of both codes can read what it writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.spacegroup import crystal

if TYPE_CHECKING:
    from pathlib import Path

REPEATS = {100: (2, 2, 5), 1000: (5, 5, 8), 4000: (8, 10, 10)}  # cells of 5 atoms
CELL = (4.19, 4.19, 4.19, 90, 90, 90)
DISPLACEMENT, TEMPERATURE = 0.05, 300.0  # Å, K


def make_crystal(num_atoms: int, *, seed: int = 0) -> Atoms:
    """The crystal with one of the numbers of atoms of `REPEATS`, and with velocities."""
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    atoms = crystal(["Ba", "Zr", "O"], sites, spacegroup=221, cellpar=list(CELL))
    atoms = atoms.repeat(REPEATS[num_atoms])
    rng = np.random.default_rng(seed)
    for site, elements in ((56, (56, 38)), (40, (22, 40, 72, 50))):
        places = atoms.numbers == site
        atoms.numbers[places] = rng.choice(elements, places.sum())
    atoms.positions += rng.normal(0, DISPLACEMENT, atoms.positions.shape)
    width = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE)
    momenta = rng.normal(size=atoms.positions.shape) * width[:, None]
    atoms.set_momenta(momenta - momenta.mean(0))
    return atoms


def write_crystal(path: Path, atoms: Atoms) -> None:
    """Write a crystal with its momenta, each number to its last digit."""
    np.savez(
        path,
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        momenta=atoms.get_momenta(),
    )


def read_crystal(path: Path) -> Atoms:
    """Read what `write_crystal` wrote."""
    with np.load(path) as file:
        return Atoms(
            numbers=file["numbers"],
            positions=file["positions"],
            cell=file["cell"],
            momenta=file["momenta"],
            pbc=True,
        )
