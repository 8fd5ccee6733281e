"""Input of the scale benchmark: real frames where they are at hand, else random crystals.

Written as extended XYZ in any number, each a copy of an original whose atoms are displaced
by a hundredth of an ångström with a seed, in shuffles of the originals one after another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.io import write
from crystals import make_crystals
from scale_commands import run_command

from mace_train.data.frame import Frame
from mace_train.data.shards import Shard

REAL_FRAMES = "mptrj_random_dev.extxyz"
_RATTLE = 0.01  # Å
_NUM_CRYSTALS = 600


def prepare_originals(data_dir: Path, folder: Path) -> tuple[Path, str]:
    """A shard of originals, and what they are.

    Args:
        data_dir: Where the file of real frames may be.
        folder: For what is written.
    """
    source, kind = data_dir / REAL_FRAMES, f"frames of MPtrj ({REAL_FRAMES})"
    if not source.exists():
        source, kind = folder / "crystals.extxyz", "random crystals: no real frames at hand"
        _write_crystals(source)
    shards = folder / "originals"
    run_command("mace-prepare", f"data.train={source}", f"output={shards}", "workers=1")
    (path,) = sorted(shards.glob("*.h5"))
    return path, f"{len(Shard(path))} {kind}"


def write_rattled(shard: Path, path: Path, *, num_frames: int, seed: int = 0) -> None:
    """Write displaced copies of a shard's frames as one file of extended XYZ.

    Args:
        shard: The originals.
        path: The file.
        num_frames: Frames in it.
        seed: Of their order and of the displacements.
    """
    originals = Shard(shard)
    templates = [_Template(originals.frame(place)) for place in range(len(originals))]
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        for first in range(0, num_frames, len(templates)):
            order = rng.permutation(len(templates))[: num_frames - first]
            file.writelines(
                templates[original].text(f"{first}-{original}", rng)
                for original in order.tolist()
            )


class _Template:
    """A frame as text, with gaps for what differs from copy to copy."""

    def __init__(self, frame: Frame) -> None:
        assert frame.forces is not None
        self._positions = frame.positions
        cell = " ".join(f"{x:.8f}" for x in frame.cell.ravel())
        stress = ""
        if frame.stress is not None:
            stress = ' stress="' + " ".join(f"{x:.8f}" for x in frame.stress.ravel()) + '"'
        self._head = (
            f'{frame.num_atoms}\nLattice="{cell}" '
            "Properties=species:S:1:pos:R:3:forces:R:3 "
            f'energy={frame.energy:.8f}{stress} pbc="T T T" mp_id=mp-'
        )
        self._rows = "".join(
            f"{chemical_symbols[number]} %.8f %.8f %.8f "
            + " ".join(f"{x:.8f}" for x in force)
            + "\n"
            for number, force in zip(frame.atomic_numbers.tolist(), frame.forces)
        )

    def text(self, name: str, rng: np.random.Generator) -> str:
        """A displaced copy."""
        moved = self._positions + rng.normal(0, _RATTLE, self._positions.shape)
        return f"{self._head}{name}\n" + self._rows % tuple(moved.ravel().tolist())


def _write_crystals(path: Path) -> None:
    frames = []
    for number, crystal in enumerate(make_crystals(_NUM_CRYSTALS)):
        atoms = Atoms(crystal.numbers, crystal.positions, cell=crystal.cell, pbc=True)
        stress = np.asarray(crystal.stress)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        labels = {"energy": crystal.energy, "forces": crystal.forces, "stress": stress}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info["mp_id"] = f"mp-{number}"
        frames.append(atoms)
    write(path, frames)
