"""Make the bundled sample: small crystals in MPtrj's layout, labelled with CHGNet 0.3.0.

Not DFT: a teaching set, small enough to be in the repository and rich enough that the
default run learns from it. Twelve elements that balance their charges are put on AFLOW
prototypes (pymatgen). Each crystal's volume is scanned, a short relaxation is started
from a strained and rattled cell, and further strained and rattled frames are drawn
around its end. Run it in an environment of its own (``pip install chgnet==0.4.2``):

    python scripts/make_sample_data.py --output data/sample/sample.extxyz.xz
"""

from __future__ import annotations

import argparse
import lzma
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from chgnet.model import CHGNetCalculator
from crystal_prototypes import Prototype, all_candidates, prototype_crystal, scaled
from pymatgen.io.ase import AseAtomsAdaptor


@dataclass(frozen=True)
class Limits:
    """What a crystal of the sample may be.

    Attributes:
        num_frames: Frames of each crystal.
        max_force: Largest force component, eV/Å; a crystal beyond it is left out.
        max_stress: Largest stress component, eV/Å^3; likewise.
    """

    num_frames: int
    max_force: float
    max_stress: float


def distorted(
    atoms: Atoms, rng: np.random.Generator, *, strain: float, rattle: float, volume: float
) -> Atoms:
    """A strained and rattled copy; standard deviations: strain, rattle in Å, log volume."""
    deformation = rng.normal(0.0, strain, (3, 3))
    deformation = (deformation + deformation.T) / 2 + np.eye(3) * (
        1 + rng.normal(0, volume / 3)
    )
    copy = atoms.copy()
    copy.set_cell(atoms.cell @ deformation, scale_atoms=True)
    copy.positions += rng.normal(0.0, rattle, copy.positions.shape)
    return copy


def rounded(atoms: Atoms) -> Atoms:
    """The crystal as the file will hold it, so that labels belong to what is written."""
    return Atoms(
        atoms.numbers, np.round(atoms.positions, 5), cell=np.round(atoms.cell, 5), pbc=True
    )


def volume_scan(atoms: Atoms, calculator: CHGNetCalculator) -> Atoms:
    """The crystal at the volume of lowest energy among those tried."""
    trials = [scaled(atoms, factor) for factor in np.linspace(0.88, 1.18, 11)]
    predictions = calculator.model.predict_structure(
        [AseAtomsAdaptor.get_structure(trial) for trial in trials], task="e", batch_size=11
    )
    return trials[int(np.argmin([float(prediction["e"]) for prediction in predictions]))]


def frames_of_crystal(
    atoms: Atoms, calculator: CHGNetCalculator, rng: np.random.Generator, *, num_frames: int
) -> Iterator[tuple[str, Atoms]]:
    """Kind and structure of each frame: a relaxation's start and end, then distortions."""
    moving = distorted(
        volume_scan(atoms, calculator), rng, strain=0.02, rattle=0.1, volume=0.05
    )
    yield "relaxation", moving.copy()
    moving.calc = calculator
    FIRE(FrechetCellFilter(moving), logfile=None).run(fmax=0.05, steps=20)
    yield "relaxation", moving.copy()
    for place in range(num_frames - 2):
        rattle = rng.uniform(0.05, 0.2)
        strain = 0.03 if place % 2 == 0 else 0.01
        kind = "strain" if place % 2 == 0 else "rattle"
        yield kind, distorted(moving, rng, strain=strain, rattle=rattle, volume=0.06)


def labelled(atoms: Atoms, calculator: CHGNetCalculator) -> dict[str, np.ndarray]:
    """Energy in eV, forces in eV/Å and stress in eV/Å^3 from CHGNet."""
    atoms = rounded(atoms)
    atoms.calc = calculator
    return {
        "energy": np.asarray(atoms.get_potential_energy()),
        "forces": np.asarray(atoms.get_forces()),
        "stress": np.asarray(atoms.get_stress(voigt=False)),
    }


def extxyz_frame(
    atoms: Atoms, labels: dict[str, np.ndarray], info: dict[str, str | int]
) -> str:
    """One frame as extended XYZ, with MPtrj's names of labels."""
    lattice = " ".join(f"{number:.5f}" for number in atoms.cell.array.ravel())
    stress = " ".join(f"{number:.6f}" for number in labels["stress"].ravel())
    named = " ".join(f"{key}={value}" for key, value in info.items())
    lines = [
        str(len(atoms)),
        f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 {named} '
        f'energy={labels["energy"]:.6f} stress="{stress}" pbc="T T T"',
    ]
    for symbol, position, force in zip(atoms.symbols, atoms.positions, labels["forces"]):
        numbers = [f"{x:.5f}" for x in position] + [f"{x:.4f}" for x in force]
        lines.append(" ".join([symbol, *numbers]))
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Crystal:
    """One crystal's frames as text, and what tells it from another crystal.

    Attributes:
        frames: Extended XYZ without the material's number (``{material_id}`` stands there).
        formula: Reduced composition.
        energy_per_atom: Of the relaxed frame, eV.
        volume_per_atom: Of the relaxed frame, Å^3.
    """

    frames: str
    formula: str
    energy_per_atom: float
    volume_per_atom: float

    def is_same_as(self, other: Crystal) -> bool:
        """Whether two prototypes have relaxed to one crystal."""
        return (
            self.formula == other.formula
            and abs(self.energy_per_atom - other.energy_per_atom) < 0.005
            and abs(self.volume_per_atom / other.volume_per_atom - 1) < 0.01
        )


def make_crystal(
    prototype: Prototype,
    element_by_role: dict[str, str],
    calculator: CHGNetCalculator,
    rng: np.random.Generator,
    limits: Limits,
) -> Crystal | None:
    """All frames of one crystal, or None where a label is beyond the limits."""
    atoms = prototype_crystal(prototype, element_by_role)
    formula = str(atoms.symbols.formula.reduce()[0].format("metal"))
    energy_per_atom = volume_per_atom = 0.0
    lines = []
    frames = frames_of_crystal(atoms, calculator, rng, num_frames=limits.num_frames)
    for frame_id, (kind, frame) in enumerate(frames):
        labels = labelled(frame, calculator)
        if (
            np.abs(labels["forces"]).max() > limits.max_force
            or np.abs(labels["stress"]).max() > limits.max_stress
        ):
            return None
        if kind == "relaxation":  # the last of them is the relaxed crystal
            energy_per_atom = float(labels["energy"]) / len(frame)
            volume_per_atom = frame.get_volume() / len(frame)
        info = {
            "material_id": "{material_id}",
            "formula": formula,
            "prototype": prototype.name.replace(" ", "_"),
            "frame_id": frame_id,
            "config_type": kind,
            "label_source": "CHGNet-0.3.0",
        }
        lines.append(extxyz_frame(rounded(frame), labels, info))
    return Crystal("".join(lines), formula, energy_per_atom, volume_per_atom)


def make_crystals(num_crystals: int, *, limits: Limits, seed: int) -> list[Crystal]:
    """Distinct crystals in a random order that the seed alone decides."""
    calculator = CHGNetCalculator(use_device="cpu")
    candidates = all_candidates()
    order = np.random.default_rng(seed).permutation(len(candidates))
    kept: list[Crystal] = []
    start = time.monotonic()
    for place, candidate in enumerate(order):
        prototype, element_by_role = candidates[candidate]
        rng = np.random.default_rng([seed, place])
        crystal = make_crystal(prototype, element_by_role, calculator, rng, limits)
        if crystal and not any(crystal.is_same_as(other) for other in kept):
            kept.append(crystal)
        if len(kept) == num_crystals:
            return kept
        if place % 20 == 19:
            seconds = time.monotonic() - start
            print(f"{len(kept)} crystals kept of {place + 1} tried, {seconds:.0f} s")
    raise SystemExit(f"only {len(kept)} crystals are reasonable: ask for fewer --materials")


def main() -> None:
    """Read the command line and write the sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data/sample/sample.extxyz.xz"))
    parser.add_argument("--materials", type=int, default=250)
    parser.add_argument("--frames", type=int, default=4, help="frames of each crystal")
    parser.add_argument("--max-force", type=float, default=10.0, help="eV/Å")
    parser.add_argument("--max-stress", type=float, default=0.5, help="eV/Å^3")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="pymatgen|chgnet")
    limits = Limits(args.frames, args.max_force, args.max_stress)
    crystals = make_crystals(args.materials, limits=limits, seed=args.seed)
    text = "".join(
        crystal.frames.replace("{material_id}", f"sample-{number:04d}")
        for number, crystal in enumerate(crystals, start=1)
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    kibibytes = args.output.stat().st_size / 1024
    print(f"{args.output}: {text.count('material_id=')} frames, {kibibytes:.0f} KiB")


if __name__ == "__main__":
    main()
