"""Small made data for the tests of shards, splits and statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mace_train.data.census import Census
from mace_train.data.frame import Frame
from mace_train.data.labels import LabelKeys
from mace_train.data.shard_writer import ShardHeader, ShardWriter
from mace_train.data.store import FrameStore
from mace_train.neighbors import count_neighbors

R_MAX = 3.0
SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def count_edges(frame: Frame, r_max: float) -> int:
    """Directed edges of a frame within a cutoff in Å."""
    return count_neighbors(frame.positions, frame.cell, frame.pbc, r_max=r_max)


def made_frame(
    seed: int, *, numbers: tuple[int, ...] = (3, 3, 8), side: float = 4.0
) -> Frame:
    """A periodic frame with all labels, written with eight decimals as in extended XYZ."""
    generator = np.random.default_rng(seed)
    return Frame(
        atomic_numbers=np.array(numbers),
        positions=np.round(generator.uniform(0, side, (len(numbers), 3)), 8),
        cell=np.diag([side, side + 0.5, side + 1.0]),
        pbc=np.array([True, True, True]),
        energy=float(generator.normal(-5.0 * len(numbers), 0.1)),
        forces=np.round(generator.normal(0, 0.5, (len(numbers), 3)), 8),
        stress=np.diag(generator.normal(0, 0.01, 3)),
        energy_weight=1.0,
        forces_weight=1.0,
        stress_weight=1.0,
        source="made.extxyz",
        index=seed,
    )


def atom_frame(number: int, energy: float, *, index: int = 0) -> Frame:
    """An isolated atom."""
    return Frame(
        atomic_numbers=np.array([number]),
        positions=np.zeros((1, 3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
        energy=energy,
        energy_weight=1.0,
        is_isolated_atom=True,
        config_type="IsolatedAtom",
        source="atoms.extxyz",
        index=index,
    )


def without_labels(frame: Frame, *names: str) -> Frame:
    """The frame with some of ``energy``, ``forces``, ``stress`` absent."""
    absent = dict.fromkeys(names) | {f"{name}_weight": 0.0 for name in names}
    return replace(frame, **absent)


def store_of(
    folder: Path,
    frames: list[Frame],
    *,
    per_shard: int = 1000,
    r_max: tuple[float, ...] = (R_MAX,),
) -> FrameStore:
    """Write frames as shards and open them."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [frames[k : k + per_shard] for k in range(0, len(frames), per_shard)]
    paths = []
    for number, part in enumerate(parts):
        writer, census = ShardWriter(len(r_max)), Census()
        for frame in part:
            edges = [count_edges(frame, cutoff) for cutoff in r_max]
            writer.add(frame, source=frame.source, edge_counts=edges)
            census.add(frame)
        paths.append(folder / f"shard-{number:05d}.h5")
        header = ShardHeader(
            preparation="made",
            number=number,
            num_shards=len(parts),
            settings={"keys": vars(LabelKeys()), "group_key": "auto", "max_force": None},
            sources=[
                {"name": name, "sha256": "0" * 64, "num_frames": len(part)}
                for name in sorted({frame.source for frame in part})
            ],
            r_max=list(r_max),
            census=census.to_dict(),
            software="test",
        )
        writer.write(paths[-1], header)
    return FrameStore(paths)


def extxyz_text(frame: Frame) -> str:
    """The frame as extended XYZ; ``mp_id`` and other groups become info keys."""
    cell = " ".join(f"{x:.8f}" for x in frame.cell.ravel())
    info = "".join(f" {key}={value}" for key, value in frame.groups.items())
    if frame.config_type is not None:
        info += f" config_type={frame.config_type}"
    if frame.stress is not None:
        info += ' stress="' + " ".join(repr(float(x)) for x in frame.stress.ravel()) + '"'
    rows = [
        f"{symbol_of(number)} " + " ".join(f"{x:.8f}" for x in (*position, *force))
        for number, position, force in zip(
            frame.atomic_numbers, frame.positions, frame.forces
        )
    ]
    pbc = " ".join("T" if periodic else "F" for periodic in frame.pbc)
    return (
        f"{frame.num_atoms}\n"
        f'Lattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 '
        f"energy={frame.energy!r}"
        f'{info} pbc="{pbc}"\n' + "\n".join(rows) + "\n"
    )


def symbol_of(number: int) -> str:
    """Symbols of the few elements that the tests use."""
    return {1: "H", 3: "Li", 6: "C", 8: "O", 14: "Si"}[int(number)]


def write_extxyz(path: Path, frames: list[Frame]) -> Path:
    """Write frames as an extended XYZ file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(extxyz_text(frame) for frame in frames))
    return path


def spread_frame(seed: int, *, groups: dict[str, str] | None = None) -> Frame:
    """A frame whose atoms are well apart, so that the reader finds nothing to refuse."""
    generator = np.random.default_rng(seed)
    frame = made_frame(seed)
    sites = np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 0.0], [0.0, 2.0, 2.5]])
    positions = np.round(sites + generator.normal(0, 0.05, sites.shape), 8)
    return replace(frame, positions=positions, groups=groups or {})
