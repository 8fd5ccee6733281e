"""`FrameStore`: many shards as one list of frames.

Opening reads a few bytes of each shard. Per-frame columns (energies, edge counts,
compositions) are read when they are asked for, and frames one by one; a store can be forked
or sent to workers. Nothing is kept as one Python object a frame: all of MPtrj takes some
hundred megabytes in each process, half of which is memory that processes share.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from mace_train.data.census import Census
from mace_train.data.frame import Frame
from mace_train.data.shards import Shard
from mace_train.neighbors import count_neighbors

_log = logging.getLogger(__name__)
_MAX_NAMED_SOURCES = 100
_COLUMNS = {"num_atoms", "energies", "force_square_sums", "label_presence"} | {
    "composition", "isolated", "source_indices", "census", "checksums",
}  # fmt: skip


@dataclass(frozen=True)
class Composition:
    """How many atoms of each element the frames have, without zeros.

    Attributes:
        first: Place of each frame's first entry, and behind the last frame their number.
        atomic_number: Element of each entry.
        count: Number of its atoms in that frame.
    """

    first: Int[np.ndarray, " frames_and_end"]
    atomic_number: Integer[np.ndarray, " entries"]
    count: Int[np.ndarray, " entries"]

    @property
    def frame(self) -> Int[np.ndarray, " entries"]:
        """Place of the frame of each entry, ascending."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


class FrameStore:
    """Frames of shards, numbered through in the order of the given paths.

    Args:
        paths: Shard files, or shards that are open already.

    Raises:
        ValueError: If there are none, or one is damaged or of another schema.
    """

    def __init__(self, paths: Sequence[Path | Shard]) -> None:
        if not paths:
            raise ValueError("there are no shards to open")
        self.shards = [path if isinstance(path, Shard) else Shard(path) for path in paths]
        self._ends = np.cumsum([len(shard) for shard in self.shards])
        self._edge_counts_by_cutoff: dict[float, np.ndarray] = {}
        self._warn_of_missing_shards()

    def _warn_of_missing_shards(self) -> None:
        """Say so where some shards of a preparation are absent, as after a killed one."""
        count_by_preparation: dict[str, int] = {}
        first: dict[str, Shard] = {}
        for shard in self.shards:
            first.setdefault(shard.preparation, shard)
            count = count_by_preparation.get(shard.preparation, 0)
            count_by_preparation[shard.preparation] = count + 1
        for preparation, shard in first.items():
            have, of = count_by_preparation[preparation], shard.header.num_shards
            if have < of:
                _log.warning(
                    "only %d of the %d shards that belong to %s are used; if mace-prepare "
                    "was interrupted, run it again and it will finish",
                    have,
                    of,
                    shard.path,
                )

    def __getstate__(self) -> dict[str, Any]:
        # Columns are read again by the other process, if it asks for them.
        kept = {k: v for k, v in self.__dict__.items() if k not in _COLUMNS}
        return kept | {"_edge_counts_by_cutoff": {}}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"FrameStore({len(self)} frames in {len(self.shards)} shards)"

    def frame(self, place: int) -> Frame:
        """One frame, its bytes compared with their checksum.

        Raises:
            IndexError: If there is no such place.
            DamagedShardError: If the bytes are not those that were written.
        """
        if not 0 <= place < len(self):
            raise IndexError(f"frame {place} of {len(self)}")
        number = int(np.searchsorted(self._ends, place, side="right"))
        shard = self.shards[number]
        return shard.frame(int(place - self._ends[number] + len(shard)))

    def _column(self, name: str) -> np.ndarray:
        return np.concatenate([shard.column(name) for shard in self.shards])

    def _flag(self, name: str) -> np.ndarray:
        return np.concatenate([shard.flag(name) for shard in self.shards])

    @cached_property
    def num_atoms(self) -> Int[np.ndarray, " frames"]:
        """Atoms in each frame."""
        return self._column("num_atoms").astype(np.int64)

    @cached_property
    def energies(self) -> Float[np.ndarray, " frames"]:
        """Energy of each frame in eV; 0 where absent."""
        return self._column("energy")

    @cached_property
    def force_square_sums(self) -> Float[np.ndarray, " frames"]:
        """Sum of the squared force components of each frame, (eV/Å)^2; 0 where absent."""
        return self._column("force_square_sum")

    @cached_property
    def label_presence(self) -> dict[str, Bool[np.ndarray, " frames"]]:
        """Frames with ``energy``, ``forces`` and ``stress`` of weight above 0."""
        return {
            name: self._flag(name) & (self._column(f"{name}_weight") > 0)
            for name in ("energy", "forces", "stress")
        }

    @cached_property
    def composition(self) -> Composition:
        """Elements of every frame."""
        parts = [shard.composition for shard in self.shards]
        num_elements = np.concatenate([part[0] for part in parts])
        return Composition(
            np.concatenate([[0], np.cumsum(num_elements, dtype=np.int64)]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )

    @property
    def atomic_numbers(self) -> Int[np.ndarray, " elements"]:
        """All elements of the frames, ascending."""
        return np.unique(self.composition.atomic_number).astype(np.int64)

    def edge_counts(self, r_max: float) -> Int[np.ndarray, " frames"]:
        """Directed edges of each frame within a cutoff in Å.

        They are read where the shards hold them for this cutoff, and else counted now,
        which takes about a millisecond a frame and is said.
        """
        r_max = float(r_max)
        if r_max not in self._edge_counts_by_cutoff:
            parts = [self._shard_edge_counts(shard, r_max) for shard in self.shards]
            self._edge_counts_by_cutoff[r_max] = np.concatenate(parts)
        return self._edge_counts_by_cutoff[r_max]

    def _shard_edge_counts(self, shard: Shard, r_max: float) -> np.ndarray:
        cutoffs = shard.header.r_max
        if r_max in cutoffs:
            return shard.column("edge_counts")[:, cutoffs.index(r_max)].astype(np.int64)
        _log.info(
            "%s has edge counts for r_max %s Å: counting edges within %s Å in %d frames "
            "(mace-prepare r_max=[%s] stores them)",
            shard.path,
            cutoffs,
            r_max,
            len(shard),
            r_max,
        )
        frames = (shard.frame(place) for place in range(len(shard)))
        counts = [
            count_neighbors(frame.positions, frame.cell, frame.pbc, r_max=r_max)
            for frame in frames
        ]
        return np.array(counts, np.int64)

    @cached_property
    def isolated(self) -> Bool[np.ndarray, " frames"]:
        """Frames that are one atom which feels no other."""
        return self._flag("isolated")

    @property
    def fully_periodic(self) -> Bool[np.ndarray, " frames"]:
        """Frames that are periodic in three directions."""
        return self._column("pbc") == 0b111

    @property
    def group_keys(self) -> set[str]:
        """Group keys that any frame has."""
        return {key for shard in self.shards for key in shard.tables["groups"]}

    def group_numbers(self, key: str) -> tuple[list[str], Int[np.ndarray, " frames"]]:
        """Values of a group key in alphabetic order, and the place of each frame's there.

        The place is -1 where a frame has none.
        """
        names, numbers = self._numbered(
            (shard.tables["groups"].get(key, []), shard.group_numbers(key))
            for shard in self.shards
        )
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.full(len(names) + 1, -1)  # whose last entry is that of -1, no name
        rank[order] = np.arange(len(names))
        return [names[place] for place in order], rank[numbers]

    def groups(self, key: str) -> list[str | None] | None:
        """Value of a group key for each frame, or None if no frame has it."""
        return _named(*self.group_numbers(key)) if key in self.group_keys else None

    @staticmethod
    def _numbered(
        parts: Iterable[tuple[list[str], np.ndarray]],
    ) -> tuple[list[str], np.ndarray]:
        """One list of names for all shards, and numbers that mean places there."""
        number_by_name: dict[str, int] = {}
        columns = []
        for names, numbers in parts:
            own = [number_by_name.setdefault(name, len(number_by_name)) for name in names]
            columns.append(np.asarray([*own, -1], np.int64)[numbers])
        return list(number_by_name), np.concatenate(columns)

    @property
    def config_types(self) -> list[str | None]:
        """``config_type`` of each frame."""
        return _named(
            *self._numbered(
                (shard.tables["config_types"], shard.column("config_type"))
                for shard in self.shards
            )
        )

    @property
    def sources(self) -> tuple[list[str], Int[np.ndarray, " frames"]]:
        """Names of the files, and for each frame the place of its file there."""
        return self._numbered(
            (shard.tables["sources"], shard.column("source")) for shard in self.shards
        )

    @cached_property
    def source_indices(self) -> Int[np.ndarray, " frames"]:
        """Place of each frame in its file."""
        return self._column("index")

    @cached_property
    def census(self) -> Census:
        """What the frames carry, and what was left out when they were read."""
        census = Census()
        for shard in self.shards:
            census.merge(shard.census)
        return census

    @cached_property
    def checksums(self) -> dict[str, str]:
        """Name and sha256 of the user's files; one sum for them all if they are many.

        More than 100 are many, and so are two of the same name.
        """
        sums = sorted(
            {(s["name"], s["sha256"]) for shard in self.shards for s in shard.sources}
        )
        if len(sums) == len(dict(sums)) <= _MAX_NAMED_SOURCES:
            return dict(sums)
        together = "\n".join(f"{value} {name}" for name, value in sums)
        return {
            f"{len(sums)} files": hashlib.sha256(
                together.encode(errors="surrogateescape")
            ).hexdigest()
        }

    def describe(self, place: int) -> str:
        """A frame's name in messages: ``mptrj.extxyz, frame 812, Li4O2``."""
        frame = self.frame(place)
        return f"{frame.source}, frame {frame.index}, {frame.formula}"


def _named(names: list[str], numbers: np.ndarray) -> list[str | None]:
    """The names that numbers stand for; -1 is none."""
    return [None if number < 0 else names[number] for number in numbers.tolist()]
