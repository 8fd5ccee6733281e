"""Shards: frames as flat arrays in HDF5 files, about 1.1 kB a frame of MPtrj.

A shard holds up to some thousand frames and everything that is asked of them without
building a graph: composition, sums over labels, number of edges within each cutoff.
Positions and forces come back bit for bit as they stood in the user's file.
`shard_writer.py` names the arrays.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mace_train.data.census import Census
from mace_train.data.columns import ArrayFile, DamagedShardError, decode_json, ragged_frame
from mace_train.data.frame import Frame
from mace_train.data.shard_writer import FLAGS, FORMAT, SCHEMA_VERSION, ShardHeader

__all__ = ["DamagedShardError", "Shard"]


class Shard:
    """One shard, read lazily; cheap to hold, and safe in forked and spawned workers.

    Args:
        path: The file.

    Raises:
        DamagedShardError: If the file is not what was written.
        ValueError: If it is no shard, or one of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = ArrayFile(path)
        attributes = self._file.attributes
        if attributes.get("format") != FORMAT:
            raise ValueError(f"{path} is an HDF5 file but no shard that mace-prepare wrote")
        version = attributes.get("schema_version")
        if version != SCHEMA_VERSION:
            older = isinstance(version, int) and version < SCHEMA_VERSION
            cure = (
                "run mace-prepare again on the original files"
                if older
                else "update mace-train"
            )
            raise ValueError(
                f"shard {path} has schema version {version}, this mace-train reads version "
                f"{SCHEMA_VERSION}: {cure}"
            )
        self.preparation = str(attributes["preparation"])
        self._num_frames = int(attributes["num_frames"])

    def __len__(self) -> int:
        return self._num_frames

    @cached_property
    def header(self) -> ShardHeader:
        """What the shard says of itself; of its files, perhaps thousands, ask `sources`."""
        return replace(self._whole_header(), sources=None)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Name, sha256 and number of frames of each file that its frames come from."""
        return self._whole_header().sources or []

    def _whole_header(self) -> ShardHeader:
        return ShardHeader(**decode_json(self._file.array("header")))

    @property
    def census(self) -> Census:
        """What the frames carry."""
        return Census.from_dict(self.header.census)

    @cached_property
    def tables(self) -> dict[str, Any]:
        """Names that the numbers in ``source``, ``config_type`` and groups stand for."""
        return decode_json(self._file.array("tables"))

    def column(self, name: str) -> np.ndarray:
        """A per-frame array, such as ``energy`` or ``edge_counts``."""
        return self._file.array(f"frames/{name}")

    def flag(self, name: str) -> np.ndarray:
        """Which frames carry ``energy``, ``forces``, ``stress``, or are ``isolated``."""
        return (self.column("flags") & FLAGS[name]) > 0

    def group_numbers(self, key: str) -> np.ndarray:
        """Per frame the place in ``tables["groups"][key]``; -1 where the frame has none."""
        name = f"groups/{key}"
        return (
            self._file.array(name) if name in self._file else np.full(len(self), -1, "<i4")
        )

    @property
    def composition(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Elements in each frame, and for all frames in turn their Z and counts."""
        return (
            self.column("num_elements"),
            self._file.array("composition/atomic_numbers"),
            self._file.array("composition/counts"),
        )

    def frame(self, place: int) -> Frame:
        """The frame at a place of this shard.

        Raises:
            DamagedShardError: If its bytes are not those that were written.
        """
        num_atoms = self._value("num_atoms", place)
        start = self._value("atom_start", place)
        numbers = self._file.array("atoms/atomic_numbers")[start : start + num_atoms]
        positions, positions_bytes = self._ragged("positions", place, num_atoms)
        forces, forces_bytes = self._ragged("forces", place, num_atoms)
        crc = zlib.crc32(positions_bytes, zlib.crc32(numbers.tobytes()))
        crc = zlib.crc32(forces_bytes, crc)
        if positions is None or crc != self._value("crc32", place):
            raise DamagedShardError(self.path, f"the checksum of its frame {place} differs")
        flags = self._value("flags", place)
        pbc = np.unpackbits(self.column("pbc")[place : place + 1], bitorder="little")
        stress = self.column("stress")[place].astype(np.float64)
        return Frame(
            atomic_numbers=numbers.astype(np.int64),
            positions=positions,
            cell=self.column("cell")[place].astype(np.float64),
            pbc=pbc[:3].astype(bool),
            energy=self._value("energy", place) if flags & FLAGS["energy"] else None,
            forces=forces,
            stress=stress if flags & FLAGS["stress"] else None,
            energy_weight=self._value("energy_weight", place),
            forces_weight=self._value("forces_weight", place),
            stress_weight=self._value("stress_weight", place),
            frame_weight=self._value("frame_weight", place),
            groups=self._groups(place),
            config_type=self._name("config_types", self._value("config_type", place)),
            is_isolated_atom=bool(flags & FLAGS["isolated"]),
            source=self._name("sources", self._value("source", place)) or "",
            index=self._value("index", place),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Texts are read again by the other process, if it asks for them.
        return {k: v for k, v in self.__dict__.items() if k not in ("header", "tables")}

    def _value(self, column: str, place: int) -> Any:
        return self.column(column)[place].item()

    def _ragged(
        self, name: str, place: int, num_atoms: int
    ) -> tuple[np.ndarray | None, bytes]:
        form = self._value(f"{name}_form", place)
        start = self._value(f"{name}_start", place)
        return ragged_frame(self._file, name, form=form, start=start, num_atoms=num_atoms)

    def _groups(self, place: int) -> dict[str, str]:
        names_by_key = self.tables["groups"]
        numbers = {key: self.group_numbers(key)[place].item() for key in names_by_key}
        return {key: names_by_key[key][n] for key, n in numbers.items() if n >= 0}

    def _name(self, table: str, number: int) -> str | None:
        return None if number < 0 else self.tables[table][number]
