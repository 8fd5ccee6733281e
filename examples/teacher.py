"""CHGNet as a teacher: labelled, distorted copies of structures, in a file.

Labels are CHGNet 0.3.0's (eV, eV/Å, eV/Å^3; energies on MP2020's corrected scale). They are
not DFT: a model that learns them cannot be better than CHGNet.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.io.extxyz import write_extxyz

MAX_FORCE = 50.0  # eV/Å; teachers have holes
MIN_DISTANCE = 0.7  # of the sum of the covalent radii


@dataclass(frozen=True)
class Lesson:
    """A structure, and how its labelled copies are distorted.

    Attributes:
        atoms: The structure; the first copy is itself.
        copies: Frames made of it.
        rattle: The largest standard deviation of the displacements, Å; a copy's own is
            drawn between a tenth of that and all of it.
        volume: The largest relative change of the volume.
        strain: Standard deviation of the components of a symmetric strain.
    """

    atoms: Atoms
    copies: int
    rattle: float
    volume: float = 0.0
    strain: float = 0.0


def teacher() -> Calculator:
    """CHGNet 0.3.0 on the CPU; one line where it is not installed."""
    try:
        from chgnet.model.dynamics import CHGNetCalculator
    except ImportError:
        sys.exit("error: no CHGNet here: pip install 'mace-train[examples]'")
    warnings.filterwarnings("ignore", module="(chgnet|pymatgen)")
    return CHGNetCalculator(use_device="cpu")


def own_calculator(calculator: Calculator) -> Calculator:
    """One that remembers an image of a band; a shared one computes it thrice in a step."""
    own = copy(calculator)
    own.reset()
    return own


def distorted(lesson: Lesson, rng: np.random.Generator) -> Atoms:
    """A copy, strained, scaled and rattled."""
    atoms = Atoms(
        lesson.atoms.numbers,
        lesson.atoms.positions,
        cell=lesson.atoms.cell,
        pbc=lesson.atoms.pbc,
    )
    strain = rng.normal(0, lesson.strain, (3, 3))
    scale = (1 + rng.uniform(-lesson.volume, lesson.volume)) ** (1 / 3)
    atoms.set_cell(
        atoms.cell @ (scale * np.eye(3) + (strain + strain.T) / 2), scale_atoms=True
    )
    sigma = rng.uniform(0.1, 1.0) * lesson.rattle
    atoms.positions += rng.normal(0, sigma, atoms.positions.shape) if sigma else 0.0
    return atoms


def jostled(atoms: Atoms, num_slab: int, copies: int, seed: int) -> list[Lesson]:
    """Copies whose adsorbate moves far, and whose slab, the first atoms, hardly does."""
    rng, made = np.random.default_rng(seed), []
    while len(made) < copies:
        moved = atoms.copy()
        moved.positions[:num_slab] += rng.normal(0, 0.03, (num_slab, 3))
        size = (len(atoms) - num_slab, 3)
        moved.positions[num_slab:] += rng.normal(0, rng.uniform(0.03, 0.15), size)
        if is_apart(moved):
            made.append(Lesson(moved, 1, rattle=0.05))
    return made


def is_apart(atoms: Atoms) -> bool:
    """Whether no atoms touch."""
    radii = covalent_radii[atoms.numbers]
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    np.fill_diagonal(distances, np.inf)
    return bool((distances > MIN_DISTANCE * (radii[:, None] + radii)).all())


def is_sound(atoms: Atoms) -> bool:
    """Whether no atoms touch and no force is one of the teacher's holes."""
    return is_apart(atoms) and bool(np.abs(atoms.calc.results["forces"]).max() < MAX_FORCE)


def labelled(atoms: Atoms, calculator: Calculator) -> Atoms:
    """The structure with the teacher's energy, forces and stress."""
    results = {
        "energy": float(calculator.get_potential_energy(atoms)),
        "forces": calculator.get_forces(atoms),
        "stress": calculator.get_stress(atoms),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info |= {"label_source": "CHGNet-0.3.0", "energy_kind": "MP2020-corrected"}
    return atoms


def frame(
    lesson: Lesson, number: int, rng: np.random.Generator, calculator: Calculator
) -> Atoms:
    """Copy `number` of a lesson with its labels; drawn again until it is sound."""
    for attempt in range(20):
        is_first = number == 0 and attempt == 0
        atoms = distorted(Lesson(lesson.atoms, 1, 0.0) if is_first else lesson, rng)
        if is_sound(labelled(atoms, calculator)):
            return atoms
    sys.exit(f"error: {lesson.atoms}: 20 tries were not sound; try a smaller rattle")


# Go on where a file ends; a frame that was cut off is made again.
def whole_frames(path: Path, recipe: str) -> list[str]:
    """The frames of a file as text, without a last one that was not written to its end."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    frames = []
    while lines:
        size = int(lines[0]) + 2
        if len(lines) < size or not lines[size - 1].endswith("\n"):
            break
        frames.append("".join(lines[:size]))
        lines = lines[size:]
    if frames and recipe not in frames[0]:
        sys.exit(f"error: {path} was made with other options; delete it or change --output")
    return frames


def as_text(atoms: Atoms) -> str:
    """A frame as extended XYZ."""
    file = io.StringIO()
    write_extxyz(file, [atoms])
    return file.getvalue()


def kept_lessons(path: Path, make: Callable[[], list[Lesson]]) -> list[Lesson]:
    """The lessons of an earlier run from `path`, or new ones, written there."""
    names = ("copies", "rattle", "volume", "strain")
    if not path.is_file():
        starts = []
        for lesson in make():
            atoms = distorted(Lesson(lesson.atoms, 1, 0.0), np.random.default_rng())
            atoms.info = {name: getattr(lesson, name) for name in names}
            starts.append(atoms)
        part = path.with_suffix(".part")
        ase.io.write(part, starts, format="extxyz")
        part.rename(path)
    starts = ase.io.read(path, ":", format="extxyz")
    return [Lesson(atoms, **{name: atoms.info[name] for name in names}) for atoms in starts]
