"""The structures that both codes time a step on: random many-element crystals, with labels.

Five prototypes are repeated to 10-60 atoms, decorated with random elements, scaled so that
about 60 neighbors lie within 6 Å, strained and rattled; the labels are random too. Crystals
of MPtrj have these sizes and this density, and a step takes its time whatever it learns.
Needs numpy and ASE alone, so that the environments of both codes can read what it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ELEMENTS = list(range(1, 90))  # as many as MACE-MP-0 knows
SMALLEST, LARGEST = 10, 60  # atoms
CUTOFF = 6.0  # Å, within which the neighbors are counted
NEIGHBORS = 60.0
RUTILE_CELL = (4.59, 4.59, 2.96, 90, 90, 90)


@dataclass(frozen=True)
class Crystal:
    """One periodic structure and its random labels, in eV and Å."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray


def make_crystals(count: int, *, seed: int = 0, largest: int = LARGEST) -> list[Crystal]:
    """Random crystals with random labels.

    Args:
        count: How many.
        seed: Of all random numbers.
        largest: Crystals with more atoms are left out.
    """
    rng = np.random.default_rng(seed)
    crystals = []
    while len(crystals) < count:
        atoms = _repeated(_prototype(int(rng.integers(5))), int(rng.integers(10, 61)))
        if not SMALLEST <= len(atoms) <= LARGEST:
            continue
        _decorate(atoms, rng)
        _deform(atoms, rng)
        if len(atoms) <= largest:
            crystals.append(_labelled(atoms, rng))
    return crystals


def write_crystals(path: Path, crystals: Sequence[Crystal]) -> None:
    """Write all crystals as one .npz file, each number to its last digit."""
    np.savez(
        path,
        num_atoms=[len(c.numbers) for c in crystals],
        numbers=np.concatenate([c.numbers for c in crystals]),
        positions=np.concatenate([c.positions for c in crystals]),
        cell=np.stack([c.cell for c in crystals]),
        energy=np.array([c.energy for c in crystals]),
        forces=np.concatenate([c.forces for c in crystals]),
        stress=np.stack([c.stress for c in crystals]),
    )


def read_crystals(path: Path) -> list[Crystal]:
    """Read what `write_crystals` wrote."""
    with np.load(path) as file:
        ends = np.cumsum(file["num_atoms"])[:-1]
        columns = zip(
            np.split(file["numbers"], ends),
            np.split(file["positions"], ends),
            file["cell"],
            file["energy"].tolist(),
            np.split(file["forces"], ends),
            file["stress"],
        )
        return [Crystal(*values) for values in columns]


def _prototype(kind: int) -> Atoms:
    if kind == 0:
        return bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    if kind == 1:  # perovskite
        sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
        return crystal(
            ["Sr", "Ti", "O"], sites, spacegroup=221, cellpar=[3.9] * 3 + [90] * 3
        )
    if kind == 2:  # spinel
        sites = [(0.125,) * 3, (0.5,) * 3, (0.2625,) * 3]
        return crystal(
            ["Mg", "Al", "O"],
            sites,
            spacegroup=227,
            setting=2,
            cellpar=[8.08] * 3 + [90] * 3,
            primitive_cell=True,
        )
    if kind == 3:  # rutile
        sites = [(0, 0, 0), (0.305, 0.305, 0)]
        return crystal(["Ti", "O"], sites, spacegroup=136, cellpar=list(RUTILE_CELL))
    sites = [(0, 0, 0), (0.25,) * 3, (0.5,) * 3]  # full Heusler
    return crystal(
        ["Ca", "F", "Cl"],
        sites,
        spacegroup=225,
        cellpar=[5.9] * 3 + [90] * 3,
        primitive_cell=True,
    )


def _repeated(atoms: Atoms, num_atoms: int) -> Atoms:
    """Doubled along its shortest axis until it has ``num_atoms``, or would be too large."""
    while len(atoms) < num_atoms and 2 * len(atoms) <= LARGEST:
        repeats = [1, 1, 1]
        repeats[int(np.argmin(atoms.cell.lengths()))] = 2
        atoms = atoms.repeat(repeats)
    return atoms


def _decorate(atoms: Atoms, rng: np.random.Generator) -> None:
    """Put one or two random elements on the sites of each element of the prototype."""
    before = atoms.numbers.copy()
    for number in np.unique(before):
        choice = rng.choice(ELEMENTS, size=rng.integers(1, 3), replace=False)
        sites = before == number
        atoms.numbers[sites] = rng.choice(choice, size=int(sites.sum()))


def _deform(atoms: Atoms, rng: np.random.Generator) -> None:
    """Scale to the wanted number of neighbors, strain and rattle."""
    neighbors = NEIGHBORS * rng.uniform(0.75, 1.25)
    volume = len(atoms) * 4 / 3 * np.pi * CUTOFF**3 / neighbors
    scale = (volume / atoms.get_volume()) ** (1 / 3)
    strain = np.eye(3) + rng.normal(0, 0.03, (3, 3))
    atoms.set_cell(scale * atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)


def _labelled(atoms: Atoms, rng: np.random.Generator) -> Crystal:
    stress = rng.normal(0, 0.02, (3, 3))
    return Crystal(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        energy=float(rng.normal() * len(atoms)),
        forces=rng.normal(0, 0.5, (len(atoms), 3)),
        stress=(stress + stress.T) / 2,
    )
