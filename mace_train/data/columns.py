"""The flat arrays of a shard: how they lie in the HDF5 file, and how they are read back.

An array is stored contiguously, so that it can be mapped into memory: nothing is opened or
locked while frames are read, worker processes share the pages, and a random frame costs
microseconds.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

# Compiled, without declarations for a type checker.
from h5py import h5a, h5d, h5g, h5o  # pyright: ignore[reportAttributeAccessIssue]

DECIMAL_SCALE = 1e8
"""Numbers with at most eight decimals, as extended XYZ has them, are stored as whole
multiples of 1e-8 in four bytes and read back bit for bit."""

ABSENT, DECIMAL, FLOAT = 0, 1, 2
_FORMS = {DECIMAL: "decimal", FLOAT: "float"}
_LARGEST = 2**31 - 1


class DamagedShardError(ValueError):
    """A shard whose bytes are not those that were written; the message names the file."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"shard {path} is damaged ({what}): delete it and run mace-prepare again, "
            "which writes only the shards that are missing"
        )


class RaggedWriter:
    """Collects one (atoms, 3) array a frame without losing a bit of any number."""

    def __init__(self) -> None:
        self.forms: list[int] = []
        self.starts: list[int] = []
        self._parts: dict[int, list[np.ndarray]] = {DECIMAL: [], FLOAT: []}
        self._lengths = {DECIMAL: 0, FLOAT: 0}

    def add(self, values: np.ndarray | None) -> bytes:
        """Append the array of the next frame, or None; returns the bytes as stored."""
        if values is None:
            self.forms.append(ABSENT)
            self.starts.append(0)
            return b""
        form, stored = _encoded(np.asarray(values, np.float64))
        self.forms.append(form)
        self.starts.append(self._lengths[form])
        self._parts[form].append(stored)
        self._lengths[form] += len(stored)
        return stored.tobytes()

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The datasets that hold everything added so far."""
        empty = {DECIMAL: np.zeros((0, 3), "<i4"), FLOAT: np.zeros((0, 3), "<f8")}
        atoms = {
            f"atoms/{name}_{_FORMS[form]}": np.concatenate(
                [empty[form], *self._parts[form]]
            )
            for form in _FORMS
        }
        return atoms | {
            f"frames/{name}_form": np.asarray(self.forms, "u1"),
            f"frames/{name}_start": np.asarray(self.starts, "<i8"),
        }


def _encoded(values: np.ndarray) -> tuple[int, np.ndarray]:
    """The smallest stored form from which the values come back exactly."""
    multiples = np.rint(values * DECIMAL_SCALE)
    if np.all(np.abs(multiples) <= _LARGEST) and np.array_equal(
        multiples / DECIMAL_SCALE, values
    ):
        return DECIMAL, multiples.astype("<i4")
    return FLOAT, values.astype("<f8")


def write_arrays(
    path: Path, arrays: dict[str, np.ndarray], attributes: dict[str, Any]
) -> None:
    """Write named arrays contiguously, each with its checksum."""
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, array in arrays.items():
            dataset = file.create_dataset(name, data=np.ascontiguousarray(array))
            if not name.startswith("atoms/"):  # these carry a checksum for every frame
                dataset.attrs["crc32"] = zlib.crc32(np.ascontiguousarray(array).tobytes())


class _Place(NamedTuple):
    """Where an array lies in the file, and what it is."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    crc32: int | None


def _find_arrays(group: h5g.GroupID, prefix: str = "") -> Iterator[tuple[str, _Place]]:
    """Names and places of all arrays of a group; h5py's own objects take thrice as long."""
    for name in group:
        item, path = h5o.open(group, name), prefix + name.decode()
        if isinstance(item, h5g.GroupID):
            yield from _find_arrays(item, f"{path}/")
        elif isinstance(item, h5d.DatasetID):
            offset = item.get_offset() or 0  # None for an empty array
            yield path, _Place(offset, item.shape, item.dtype.str, _checksum(item))


def _checksum(item: h5d.DatasetID) -> int | None:
    if not h5a.exists(item, b"crc32"):
        return None
    attribute = h5a.open(item, b"crc32")
    value = np.zeros(attribute.shape, attribute.dtype)
    attribute.read(value)
    return int(value)


class ArrayFile:
    """Arrays of one shard, mapped into memory at first use; may be sent to other processes.

    Args:
        path: The HDF5 file.

    Raises:
        DamagedShardError: If the file is cut short or is not HDF5.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes: np.memmap | None = None
        self._views: dict[str, np.ndarray] = {}
        with self._opened() as file:
            self.attributes: dict[str, Any] = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in file.attrs.items()
            }
            self._places = dict(_find_arrays(h5o.open(file.id, b"/")))

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except (OSError, RuntimeError, KeyError) as error:
            if not self.path.exists():
                raise ValueError(f"there is no shard {self.path}") from error
            raise DamagedShardError(self.path, str(error)) from error

    @property
    def names(self) -> list[str]:
        """Names of all arrays."""
        return list(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def array(self, name: str) -> np.ndarray:
        """A view of an array; its checksum is compared when it is first looked at.

        Raises:
            DamagedShardError: If the array is missing or its checksum differs.
        """
        if name not in self._views:
            self._views[name] = self._view(name)
        return self._views[name]

    def _view(self, name: str) -> np.ndarray:
        if name not in self._places:
            raise DamagedShardError(self.path, f"it has no array {name}")
        place = self._places[name]
        count = int(np.prod(place.shape))
        if count == 0:
            return np.zeros(place.shape, place.dtype)
        if self._bytes is None:
            self._bytes = np.memmap(self.path, mode="r", dtype=np.uint8)
        try:
            view = np.frombuffer(self._bytes, place.dtype, count, place.offset)
        except ValueError as error:
            raise DamagedShardError(self.path, f"it ends before {name} does") from error
        if place.crc32 is not None and zlib.crc32(view.data) != place.crc32:
            raise DamagedShardError(self.path, f"the checksum of {name} differs")
        return view.reshape(place.shape)

    def __getstate__(self) -> dict[str, Any]:
        # A mapped file cannot be pickled; the other process maps it again.
        return self.__dict__ | {"_bytes": None, "_views": {}}


def encode_json(value: object) -> np.ndarray:
    """Plain values as an array of bytes (HDF5 attributes end at 64 kB)."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def decode_json(array: np.ndarray) -> Any:
    """The values `encode_json` stored."""
    return json.loads(array.tobytes())


def ragged_frame(
    file: ArrayFile, name: str, *, form: int, start: int, num_atoms: int
) -> tuple[np.ndarray | None, bytes]:
    """One frame of a `RaggedWriter`'s array in float64, and its bytes as stored."""
    if form == ABSENT:
        return None, b""
    if form not in _FORMS:
        raise DamagedShardError(file.path, f"{name} has a frame of unknown form {form}")
    stored = file.array(f"atoms/{name}_{_FORMS[form]}")[start : start + num_atoms]
    values = stored / DECIMAL_SCALE if form == DECIMAL else stored.astype(np.float64)
    return values, stored.tobytes()
