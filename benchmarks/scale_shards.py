"""A million frames for little: shards whose frames are copies of real, prepared ones.

Each material is one original, repeated; materials come in whole shuffles of the originals,
10.83 frames each and in a file of its own, as in MPtrj. So sizes are distributed as in the
originals, and everything that grows with the number of files and materials is as long.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mace_train.data.columns import ArrayFile, encode_json, write_arrays
from mace_train.data.shard_writer import FLAGS, FORMAT, SCHEMA_VERSION
from mace_train.data.shards import Shard

FRAMES_PER_MATERIAL = 10.83
FRAMES_PER_SHARD = 10_000
_FORMS = {"decimal": 1, "float": 2}  # of positions and forces, see columns.py


def write_copies(original: Path, folder: Path, *, num_frames: int, seed: int = 0) -> None:
    """Write shards of ``num_frames`` frames.

    Args:
        original: A shard that mace-prepare wrote.
        folder: Where the new ones go.
        num_frames: How many frames they have in all.
        seed: Of the order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, rng = _Original(original), np.random.default_rng(seed)
    num_shards = -(-num_frames // FRAMES_PER_SHARD)
    num_materials = int(num_frames / FRAMES_PER_MATERIAL) + 1
    shuffles = [
        rng.permutation(source.num_frames)
        for _ in range(-(-num_materials // source.num_frames))
    ]
    original_of_material = np.concatenate(shuffles)
    for number in range(num_shards):
        first = number * FRAMES_PER_SHARD
        frames = np.arange(first, min(first + FRAMES_PER_SHARD, num_frames))
        material = (frames / FRAMES_PER_MATERIAL).astype(np.int64)
        place = frames - np.ceil(material * FRAMES_PER_MATERIAL).astype(np.int64)
        source.write(
            folder / f"shard-{number:05d}.h5",
            original_of_material[material],
            material=material,
            place=place,
            num_shards=num_shards,
        )


class _Original:
    """One shard in memory, from which others are gathered."""

    def __init__(self, path: Path) -> None:
        self._shard = Shard(path)
        file = ArrayFile(path)
        self._arrays = {name: np.array(file.array(name)) for name in file.names}
        self.num_frames = len(self._shard)

    def write(
        self,
        path: Path,
        chosen: np.ndarray,
        *,
        material: np.ndarray,
        place: np.ndarray,
        num_shards: int,
    ) -> None:
        """Write the chosen frames as a shard, of new materials in new files."""
        arrays = {
            name: array[chosen]
            for name, array in self._arrays.items()
            if name.startswith("frames/")
        }
        num_atoms = arrays["frames/num_atoms"].astype(np.int64)
        atom_start = arrays["frames/atom_start"]
        arrays["atoms/atomic_numbers"] = self._rows(
            "atoms/atomic_numbers", atom_start, num_atoms
        )
        arrays["frames/atom_start"] = _starts(num_atoms)
        for name in ("positions", "forces"):
            for form, number in _FORMS.items():
                has = arrays[f"frames/{name}_form"] == number
                start = arrays[f"frames/{name}_start"][has]
                key = f"atoms/{name}_{form}"
                arrays[key] = self._rows(key, start, num_atoms[has])
                arrays[f"frames/{name}_start"][has] = _starts(num_atoms[has])
        kinds = self._arrays["frames/num_elements"].astype(np.int64)
        for name in ("composition/atomic_numbers", "composition/counts"):
            arrays[name] = self._rows(name, _starts(kinds)[chosen], kinds[chosen])
        names, number = np.unique(material, return_inverse=True)
        arrays["groups/mp_id"] = number.astype("<i4")
        arrays["frames/source"] = number.astype("<i4")
        arrays["frames/index"] = place.astype("<i8")
        census = self._census(arrays)
        arrays |= self._texts(path, names, num_shards=num_shards, census=census)
        attributes = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "num_frames": len(chosen),
            "preparation": "copies",
        }
        write_arrays(path, arrays, attributes)

    def _rows(self, name: str, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Rows of an array, a run of them for each frame."""
        within = np.arange(lengths.sum()) - np.repeat(_starts(lengths), lengths)
        return self._arrays[name][np.repeat(starts, lengths) + within]

    def _census(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """The original's, with the counts of the chosen frames."""
        flags = arrays["frames/flags"]
        return self._shard.header.census | {
            "num_frames": len(flags),
            "num_atoms": int(arrays["frames/num_atoms"].sum()),
            "labels": {
                name: int(((flags & FLAGS[name]) > 0).sum())
                for name in ("energy", "forces", "stress")
            },
        }

    def _texts(
        self, path: Path, materials: np.ndarray, *, num_shards: int, census: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        """Header and tables, as if each material had come in a file of its own."""
        header = self._shard.header
        sources = [f"mp-{number}.extxyz" for number in materials.tolist()]
        own = {
            "preparation": "copies",
            "num_shards": num_shards,
            "number": int(path.stem.split("-")[1]),
            "census": census,
            "sources": [
                {"name": name, "sha256": f"{place:064x}", "num_frames": 11}
                for place, name in zip(materials.tolist(), sources)
            ],
        }
        groups = {"mp_id": [f"mp-{number}" for number in materials.tolist()]}
        tables = {**self._shard.tables, "sources": sources, "groups": groups}
        return {
            "header": encode_json(asdict(header) | own),
            "tables": encode_json(tables),
        }


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.cumsum(lengths, dtype="<i8") - lengths
