"""Rattled and strained frames of a crystal, labelled by CHGNet: a small model's lessons.

    python examples/teacher_frames.py --crystal NaCl --output examples/models/nacl.extxyz

The crystal is relaxed by the teacher; copies of its cubic cell, once and twice as long, are
strained, scaled and rattled. The same command goes on with a file that was interrupted;
frame number n is the same whichever run makes it. Labels are CHGNet 0.3.0's, as
`label_source` says (eV, eV/Å, eV/Å^3; energies on MP2020's corrected scale). They are not
DFT: a model that learns them cannot be better than CHGNet. Needs
`pip install 'mace-train[examples]'`.
"""

# %% What to make
import argparse
import io
import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.io.extxyz import write_extxyz
from ase.optimize import FIRE
from rich.progress import track

CRYSTALS = {"NaCl": 5.64, "MgO": 4.21, "LiF": 4.03, "KCl": 6.29}
"""Rock salts and their measured lattice constants in Å, from which the teacher relaxes."""
MAX_FORCE = 50.0  # eV/Å; teachers have holes
MIN_DISTANCE = 0.7  # of the sum of the covalent radii

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--crystal", choices=CRYSTALS, default="NaCl")
parser.add_argument("--structure", type=Path, help="instead of --crystal: a file of ASE")
parser.add_argument("--output", type=Path, required=True, help="extended XYZ")
parser.add_argument("--frames", type=int, default=240)
parser.add_argument("--rattle", type=float, default=0.15, help="the most, Å")
parser.add_argument("--volume", type=float, default=0.06, help="the most, as a share")
parser.add_argument("--strain", type=float, default=0.015, help="standard deviation")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
crystal = str(options.structure or options.crystal)
RECIPE = (
    f"{crystal}; rattle {options.rattle}; volume {options.volume}; "
    f"strain {options.strain}; seed {options.seed}"
)
try:
    from chgnet.model.dynamics import CHGNetCalculator
except ImportError:
    sys.exit("error: no CHGNet here: pip install 'mace-train[examples]'")


# %% The crystal as the teacher relaxes it, and copies of it
def relaxed(atoms: Atoms, calculator: Calculator) -> Atoms:
    """The teacher's own crystal; where it does not converge, its cell after 200 steps."""
    atoms.calc = calculator
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.005, steps=200)
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def distorted(atoms: Atoms, rng: np.random.Generator, place: int) -> Atoms:
    """A copy, strained, scaled and rattled; every other one is twice as long."""
    copy = atoms * ((2, 1, 1) if place % 2 else (1, 1, 1))
    strain = rng.normal(0, options.strain, (3, 3))
    scale = (1 + rng.uniform(-options.volume, options.volume)) ** (1 / 3)
    copy.set_cell(
        copy.cell @ (scale * np.eye(3) + (strain + strain.T) / 2), scale_atoms=True
    )
    copy.positions += rng.normal(0, rng.uniform(0.01, options.rattle), copy.positions.shape)
    return copy


def is_sound(atoms: Atoms) -> bool:
    """Whether no atoms touch and no force is one of the teacher's holes."""
    radii = covalent_radii[atoms.numbers]
    distances = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    is_apart = bool((distances > MIN_DISTANCE * (radii[:, None] + radii)).all())
    return is_apart and bool(np.abs(atoms.calc.results["forces"]).max() < MAX_FORCE)


def labelled_frame(atoms: Atoms, calculator: Calculator, place: int) -> Atoms:
    """Frame number `place` with its labels; drawn again until it is sound."""
    rng = np.random.default_rng([options.seed, place])
    for _ in range(20):
        frame = distorted(atoms, rng, place)
        results = {
            "energy": calculator.get_potential_energy(frame),
            "forces": calculator.get_forces(frame),
            "stress": calculator.get_stress(frame),
        }
        frame.calc = SinglePointCalculator(frame, **results)
        if is_sound(frame):
            frame.info["label_source"] = "CHGNet-0.3.0"
            frame.info["energy_kind"] = "MP2020-corrected"
            frame.info["recipe"] = RECIPE
            return frame
    sys.exit(f"error: frame {place}: 20 tries were not sound; try a smaller --rattle")


# %% Go on where the file ends; a frame that was cut off is made again
def whole_frames(path: Path) -> list[str]:
    """The frames of a file as text, without a last one that was not written to its end."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    frames = []
    while lines:
        size = int(lines[0]) + 2
        if len(lines) < size or not lines[size - 1].endswith("\n"):
            break
        frames.append("".join(lines[:size]))
        lines = lines[size:]
    if frames and RECIPE not in frames[0]:
        sys.exit(f"error: {path} was made with other options; delete it or change --output")
    return frames


def as_text(frame: Atoms) -> str:
    """A frame as extended XYZ."""
    file = io.StringIO()
    write_extxyz(file, [frame])
    return file.getvalue()


def main() -> None:
    """Make the frames that are missing; the file gets its name when all are there."""
    if options.output.is_file():
        return print(f"{len(whole_frames(options.output))} frames are in {options.output}")
    part = options.output.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    frames = whole_frames(part) if part.is_file() else []
    part.write_text("".join(frames), encoding="utf-8")
    warnings.filterwarnings("ignore", category=UserWarning)  # of CHGNet's libraries
    calculator = CHGNetCalculator(use_device="cpu")
    if options.structure:
        cell = read(options.structure)
    else:
        cell = bulk(options.crystal, "rocksalt", a=CRYSTALS[options.crystal], cubic=True)
    cell = relaxed(cell, calculator)
    missing = range(len(frames), options.frames)
    with part.open("a", encoding="utf-8") as file:
        for place in track(missing, f"CHGNet labels {crystal}"):
            file.write(as_text(labelled_frame(cell, calculator, place)))
            file.flush()
    part.rename(options.output)
    return print(f"{options.frames} frames in {options.output}")


main()
