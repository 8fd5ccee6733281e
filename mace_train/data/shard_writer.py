"""Writing shards: frames are collected in memory and become one HDF5 file at a stroke."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mace_train.data.columns import RaggedWriter, encode_json, write_arrays
from mace_train.data.frame import Frame

SCHEMA_VERSION = 1
FORMAT = "mace-train shard"
FLAGS = {"energy": 1, "forces": 2, "stress": 4, "isolated": 8}
"""Bits of a frame's ``flags``: labels it carries, and whether it is an isolated atom."""

_UNITS = {"energy": "eV", "positions": "Å", "forces": "eV/Å", "stress": "eV/Å^3"}


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        preparation: Identity of the data and settings it was made from; shards of one
            preparation have it in common.
        number: Its place among the shards of that preparation.
        num_shards: How many those are.
        settings: Label keys, units and limits with which the user's files were read.
        sources: Name, sha256 and number of frames of each file its frames come from; None
            in a `Shard`, which reads them when asked.
        r_max: Cutoffs in Å for which edges were counted.
        census: What the frames carry (`Census.to_dict`).
        software: Version of the package that wrote it.
        units: Units of the stored values.
    """

    preparation: str
    number: int
    num_shards: int
    settings: dict[str, Any]
    sources: list[dict[str, Any]] | None
    r_max: list[float]
    census: dict[str, Any]
    software: str
    units: dict[str, str] = field(default_factory=lambda: dict(_UNITS))


class ShardWriter:
    """Collects frames in memory and writes them as one file.

    Args:
        num_cutoffs: How many edge counts come with each frame.
    """

    def __init__(self, num_cutoffs: int) -> None:
        self._num_cutoffs = num_cutoffs
        self._rows: list[tuple[Any, ...]] = []
        self._cells: list[np.ndarray] = []
        self._stresses: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []
        self._edge_counts: list[Sequence[int]] = []
        self._compositions: list[tuple[np.ndarray, np.ndarray]] = []
        self._positions, self._forces = RaggedWriter(), RaggedWriter()
        # Strings are stored as small numbers, in the order of their appearance.
        self._number_by_source: dict[str, int] = {}
        self._number_by_config_type: dict[str, int] = {}
        self._number_by_group: dict[str, dict[str, int]] = {}  # for each group key
        self._groups: dict[str, dict[int, int]] = {}  # number by frame for each group key

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, frame: Frame, *, source: str, edge_counts: Sequence[int]) -> None:
        """Append a frame.

        Args:
            frame: The frame.
            source: Name of its file as splits and messages will show it.
            edge_counts: Directed edges within each cutoff.
        """
        numbers = frame.atomic_numbers.astype("u1")
        crc = zlib.crc32(
            self._positions.add(frame.positions), zlib.crc32(numbers.tobytes())
        )
        crc = zlib.crc32(self._forces.add(frame.forces), crc)
        labels = (frame.energy, frame.forces, frame.stress)
        flags = sum(bit for bit, label in zip(FLAGS.values(), labels) if label is not None)
        square_sum = 0.0 if frame.forces is None else float(np.sum(frame.forces**2))
        self._rows.append(
            (
                frame.num_atoms,
                0.0 if frame.energy is None else frame.energy,
                frame.energy_weight,
                frame.forces_weight,
                frame.stress_weight,
                frame.frame_weight,
                flags + FLAGS["isolated"] * frame.is_isolated_atom,
                int(np.packbits(frame.pbc, bitorder="little")[0]),
                square_sum,
                _number(self._number_by_source, source),
                frame.index,
                _number(self._number_by_config_type, frame.config_type),
                crc,
            )
        )
        self._numbers.append(numbers)
        self._cells.append(frame.cell)
        self._stresses.append(np.zeros((3, 3)) if frame.stress is None else frame.stress)
        self._edge_counts.append(edge_counts)
        self._compositions.append(np.unique(numbers, return_counts=True))
        for key, value in frame.groups.items():
            number = _number(self._number_by_group.setdefault(key, {}), value)
            self._groups.setdefault(key, {})[len(self._rows) - 1] = number

    def write(self, path: Path, header: ShardHeader) -> None:
        """Write all frames; a file of that name appears only when it is complete."""
        tables = {
            "sources": list(self._number_by_source),
            "config_types": list(self._number_by_config_type),
            "groups": {key: list(names) for key, names in self._number_by_group.items()},
        }
        arrays = self._frame_arrays() | {
            "header": encode_json(asdict(header)),
            "tables": encode_json(tables),
        }
        attributes = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "num_frames": len(self),
            "preparation": header.preparation,
        }
        temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
        write_arrays(temporary, arrays, attributes)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)

    def _frame_arrays(self) -> dict[str, np.ndarray]:
        count = len(self)
        arrays = {
            f"frames/{name}": np.asarray([row[k] for row in self._rows], dtype)
            for k, (name, dtype) in enumerate(_ROW)
        }
        arrays["frames/atom_start"] = _starts(arrays["frames/num_atoms"])
        arrays["frames/cell"] = np.asarray(self._cells, "<f8").reshape(count, 3, 3)
        arrays["frames/stress"] = np.asarray(self._stresses, "<f8").reshape(count, 3, 3)
        arrays["frames/edge_counts"] = np.asarray(self._edge_counts, "<i8").reshape(
            count, self._num_cutoffs
        )
        none = np.zeros(0, "u1")
        arrays["atoms/atomic_numbers"] = np.concatenate([none, *self._numbers])
        kinds = [len(elements) for elements, _ in self._compositions]
        arrays["frames/num_elements"] = np.asarray(kinds, "u1")
        arrays["composition/atomic_numbers"] = np.concatenate(
            [none, *(elements for elements, _ in self._compositions)]
        )
        arrays["composition/counts"] = np.concatenate(
            [none, *(counts for _, counts in self._compositions)]
        ).astype("<i4")
        for key, number_by_frame in self._groups.items():
            numbers = np.full(count, -1, "<i4")
            numbers[list(number_by_frame)] = list(number_by_frame.values())
            arrays[f"groups/{key}"] = numbers
        arrays |= self._positions.arrays("positions")
        return arrays | self._forces.arrays("forces")


_ROW = (
    ("num_atoms", "<i4"),
    ("energy", "<f8"),
    ("energy_weight", "<f8"),
    ("forces_weight", "<f8"),
    ("stress_weight", "<f8"),
    ("frame_weight", "<f8"),
    ("flags", "u1"),
    ("pbc", "u1"),
    ("force_square_sum", "<f8"),
    ("source", "<i4"),
    ("index", "<i8"),
    ("config_type", "<i4"),
    ("crc32", "<u4"),
)


def _number(number_by_name: dict[str, int], name: str | None) -> int:
    """The number of a name, -1 for none; a new name gets the next one."""
    return -1 if name is None else number_by_name.setdefault(name, len(number_by_name))


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype="<i8")])[:-1].astype("<i8")
