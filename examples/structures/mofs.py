"""Metal-organic frameworks: six of them, and CO2 in Mg-MOF-74.

The six are mlip-arena's CIFs. Mg-MOF-74 is Zn-MOF-74's primitive cell with Mg for Zn. Its
frames lie where dynamics go: CO2 at a metal and in the channel, and CHGNet's own dynamics.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.filters import UnitCellFilter
from ase.geometry import find_mic
from ase.md.langevin import Langevin
from ase.optimize import LBFGS
from teacher import Lesson

FRAMEWORKS = ("CALF20", "HKUST-1", "MOF-5", "UiO-66", "ZIF-8", "Zn-MOF-74")
LEFT_OUT = "CALF20"
"""No frame of it is among the lessons; its elements are."""
DISTORTION = {"rattle": 0.08, "volume": 0.06, "strain": 0.01}
CO_BOND = 1.178  # Å, CHGNet's


def framework(data_dir: Path, name: str) -> Atoms:
    """One of the six as in its CIF."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # settings of space groups
        atoms = ase.io.read(data_dir / "apps" / f"{name}.cif")
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def primitive(atoms: Atoms) -> Atoms:
    """The rhombohedral primitive cell of a hexagonal one (obverse setting)."""
    a, b, c = atoms.cell
    cell = np.array([2 * a + b + c, -a + b + c, -a - 2 * b + c]) / 3
    moved = atoms.positions[:, None] - atoms.positions[None]
    distances = find_mic(moved.reshape(-1, 3), cell)[1].reshape(len(atoms), -1)
    is_image = np.tril(distances < 0.1, -1).any(axis=1)
    first = atoms[~is_image]
    cell_of_first = Atoms(first.numbers, first.positions, cell=cell, pbc=True)
    cell_of_first.wrap()
    return cell_of_first


def mg_mof_74(data_dir: Path) -> Atoms:
    """Primitive cell of 54 atoms, with the positions of Zn-MOF-74."""
    atoms = primitive(framework(data_dir, "Zn-MOF-74"))
    atoms.numbers[atoms.symbols == "Zn"] = 12
    return atoms


def co2_at(atoms: Atoms, oxygen: np.ndarray, axis: np.ndarray) -> Atoms:
    """With a CO2 whose first oxygen is at a place, and that points along an axis."""
    step = CO_BOND * axis / np.linalg.norm(axis)
    return atoms + Atoms("OCO", [oxygen, oxygen + step, oxygen + 2 * step])


def co2_at_metal(atoms: Atoms, metal: int, distance: float, tilt: float) -> Atoms:
    """With a CO2 at the open side of a metal.

    Args:
        atoms: The framework.
        metal: Index of the metal.
        distance: From it to the nearer oxygen, Å.
        tilt: How far the molecule is turned out of the line to the metal, degrees.
    """
    to_others = find_mic(atoms.positions - atoms.positions[metal], atoms.cell)[0]
    bonded = np.argsort(np.linalg.norm(to_others, axis=1))[1:6]
    out = -to_others[bonded].mean(axis=0)
    out /= np.linalg.norm(out)
    aside = np.cross(out, atoms.cell.sum(axis=0))  # out of the channel's direction
    aside /= np.linalg.norm(aside)
    angle = np.radians(tilt)
    axis = np.cos(angle) * out + np.sin(angle) * aside
    return co2_at(atoms, atoms.positions[metal] + distance * out, axis)


def co2_anywhere(atoms: Atoms, nearest: float, rng: np.random.Generator) -> Atoms:
    """With a CO2 at random, no atom of it nearer to the framework than `nearest`, Å."""
    while True:
        placed = co2_at(atoms, rng.uniform(size=3) @ atoms.cell[:], rng.normal(size=3))
        placed.wrap()
        moved = placed.positions[-3:, None] - atoms.positions[None]
        if find_mic(moved.reshape(-1, 3), atoms.cell)[1].min() > nearest:
            return placed


def snapshots(
    atoms: Atoms, calculator: Calculator, kelvin: float, count: int
) -> list[Atoms]:
    """Frames of Langevin dynamics, four steps apart.

    All masses are 20 u: where atoms go does not depend on masses, and steps may be longer.
    """
    atoms, rng, frames = atoms.copy(), np.random.default_rng(count), []
    atoms.calc = calculator
    atoms.set_masses(np.full(len(atoms), 20.0))
    thermal = np.sqrt(20.0 * units.kB * kelvin)
    atoms.set_momenta(thermal * rng.normal(size=(len(atoms), 3)))
    run = Langevin(
        atoms,
        timestep=3 * units.fs,
        temperature_K=kelvin,
        friction=0.03 / units.fs,
        fixcm=False,
        rng=rng,
    )
    run.attach(lambda: frames.append(atoms.copy()), interval=4)
    run.run(4 * count)
    return frames[1:]


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """Frames of five frameworks, of Mg-MOF-74 with and without CO2, and of CO2."""
    rng = np.random.default_rng(0)
    learned = [framework(data_dir, name) for name in FRAMEWORKS if name != LEFT_OUT]
    learned[-1] = primitive(learned[-1])
    made = [Lesson(atoms, 6, **DISTORTION) for atoms in learned]
    empty = mg_mof_74(data_dir)
    empty.calc = calculator
    LBFGS(UnitCellFilter(empty), logfile=None).run(fmax=0.05, steps=40)
    empty.calc = None
    made.append(Lesson(empty, 10, **DISTORTION))
    metals = np.flatnonzero(empty.symbols == "Mg")
    at_metal = [
        co2_at_metal(empty, metal, distance, tilt)
        for metal, distance, tilt in zip(
            np.tile(metals, 8), rng.uniform(1.9, 3.5, 48), rng.uniform(0, 90, 48)
        )
    ]
    near = [co2_anywhere(empty, 2.2, rng) for _ in range(12)]
    far = [co2_anywhere(empty, 2.8, rng) for _ in range(12)]
    # The first copy of a lesson is not distorted: two of each.
    made += [Lesson(atoms, 2, rattle=0.05, strain=0.003) for atoms in at_metal + near + far]
    bound = co2_at_metal(empty, metals[0], 2.2, 20.0)
    for start, kelvin, count in (
        (bound, 300, 30),
        (far[0], 450, 20),
        (near[0], 600, 20),
    ):
        made += [
            Lesson(atoms, 1, 0.0) for atoms in snapshots(start, calculator, kelvin, count)
        ]
    alone = co2_at(Atoms(cell=[12.0] * 3, pbc=True), np.full(3, 5.0), np.ones(3))
    return [*made, Lesson(alone, 30, rattle=0.06)]
