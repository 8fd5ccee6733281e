"""Frames of ASE databases: SQLite (``.db``) and LMDB (``.aselmdb``).

A row's results are its labels; its key-value pairs and its data stand beside them, so that
a group key or a label of another name is found there.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase.db.row import AtomsRow
from ase.db.sqlite import SQLite3Database
from ase.io.formats import UnknownFileTypeError

from mace_train.data.ase_files import offers_of, raw_from_atoms
from mace_train.data.byte_streams import checksum
from mace_train.data.frame_source import (
    BrokenFileError,
    Contents,
    FrameFile,
    Mark,
    ReadFrame,
    Span,
)
from mace_train.data.plain_frame import RawFrame
from mace_train.data.problems import FrameError

try:
    import lmdb
    from ase_db_backends.aselmdb import LMDBDatabase
except ImportError:  # an optional package
    lmdb = LMDBDatabase = None

LMDB_SUFFIX = ".aselmdb"

_SQLITE_SUFFIX = ".db"
_TYPES = {_SQLITE_SUFFIX: "db", ".json": "json"}  # ASE knows lower case alone
_CHUNK = 500  # rows of SQLite that are in memory at once
_DAMAGE = (
    sqlite3.Error, UnknownFileTypeError, OSError, ValueError, KeyError, TypeError, EOFError,
)  # fmt: skip
if lmdb is not None:
    _DAMAGE = (*_DAMAGE, lmdb.Error)


class AseDatabaseFormat:
    """Reads ASE databases (see `frame_source.FrameFormat`)."""

    def scan(self, file: FrameFile, *, stride: int) -> Contents:
        """Count the rows of a database, with a mark at every ``stride``-th."""
        with _opened(file) as database:
            ids = _ids(file, database)
        marks = tuple(Mark(place, ids[place]) for place in range(0, len(ids), stride))
        return Contents(len(ids), marks, checksum(file))

    def read(
        self, file: FrameFile, span: Span, *, wanted: Collection[str]
    ) -> Iterator[ReadFrame]:
        """Read the rows of a span, with all their values and columns."""
        del wanted
        start, stop = span
        with _opened(file) as database:
            try:
                rows = _rows(database, start.offset, stop and stop.offset)
                for index, row in enumerate(rows, start.frame):
                    yield _read_row(row, index)
            except _DAMAGE as error:
                raise BrokenFileError(
                    "and all that follow cannot be read",
                    cure="The database is damaged: copy it again.",
                    detail=f"{type(error).__name__}: {error}",
                ) from error


def is_of_another_program(path: Path) -> bool:
    """Whether a file named like a database is surely none of ASE, damaged or not."""
    if path.suffix.lower() != _SQLITE_SUFFIX or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            begin = file.read(16)
        if begin != b"SQLite format 3\0":
            return len(begin) > 0
        return not _has_systems(path)
    except (OSError, sqlite3.Error):
        return False


@contextmanager
def _opened(file: FrameFile) -> Iterator[Any]:
    """A database, for reading only.

    Raises:
        ValueError: If it is none, or the package that reads LMDB is missing.
    """
    suffix = file.path.suffix.lower()
    options: dict[str, Any] = {"type": _TYPES.get(suffix, "extract_from_name")}
    is_lmdb = suffix == LMDB_SUFFIX
    if is_lmdb and lmdb is None:
        raise ValueError(f"{file} is an LMDB: to read it, pip install 'mace-train[lmdb]'")
    try:
        if is_lmdb and lmdb is not None:
            # Where this fails, the next class would leave an object half made.
            lmdb.open(str(file.path), subdir=False, readonly=True, lock=False).close()
            options = {"type": "aselmdb", "readonly": True}
        if suffix == _SQLITE_SUFFIX and not _has_systems(file.path):
            raise ValueError("it has no table of structures")  # ASE would make one
        database: Any = ase.db.connect(
            file.path, use_lock_file=False, create_indices=False, **options
        )
        len(database)
    except _DAMAGE as error:
        raise ValueError(
            f"{file} is no ASE database, or a damaged one ({error}): copy it again, or "
            "name another file"
        ) from error
    with database:
        yield database


def _sqlite(path: Path) -> closing[sqlite3.Connection]:
    """The tables of a database, which cannot be written this way."""
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))


def _has_systems(path: Path) -> bool:
    """Whether there is the table in which ASE keeps structures."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'systems'"
    with _sqlite(path) as db:
        return db.execute(query).fetchone() is not None


def _ids(file: FrameFile, database: Any) -> list[int]:
    """The keys of all rows, ascending."""
    if file.path.suffix.lower() == _SQLITE_SUFFIX:  # ASE would read the rows whole
        with _sqlite(file.path) as db:
            return [key for (key,) in db.execute("SELECT id FROM systems ORDER BY id")]
    if LMDBDatabase is not None and isinstance(database, LMDBDatabase):
        return sorted(database.ids)
    return sorted(row.id for row in database.select(include_data=False))


def _rows(database: Any, first: int, last: int | None) -> Iterator[AtomsRow]:
    """The rows with keys from ``first`` to before ``last``, or all from there on."""
    if LMDBDatabase is not None and isinstance(database, LMDBDatabase):
        ids = sorted(database.ids)
        end = None if last is None else bisect_left(ids, last)
        for key in ids[bisect_left(ids, first) : end]:
            yield database.get(id=key)  # a selection would go through all rows before
        return
    limit = _CHUNK if isinstance(database, SQLite3Database) else None
    before: list[Any] = [] if last is None else [("id", "<", last)]
    while True:
        count = 0
        for row in database.select([("id", ">=", first), *before], sort="id", limit=limit):
            yield row
            first, count = row.id + 1, count + 1
        if count != limit:
            return


def _read_row(row: AtomsRow, index: int) -> ReadFrame:
    """A frame, or what is wrong with its row."""
    try:
        return _raw_from_row(row, index)
    except _DAMAGE as error:
        return index, FrameError(
            "are in rows that cannot be read",
            cure="Mend these rows of the database, or delete them.",
            detail=f"row {row.id}: {type(error).__name__}: {error}",
        )


def _raw_from_row(row: AtomsRow, index: int) -> RawFrame:
    """Bring a row into the form of the plain parser; its results go first."""
    raw = raw_from_atoms(row.toatoms(), index=index)
    for name, value in {**row.data, **row.key_value_pairs}.items():
        if (column := _column(value, row.natoms)) is not None:
            raw.columns.setdefault(name, column)
        raw.values.setdefault(name, value)
    raw.names = tuple(dict.fromkeys((*raw.values, *raw.columns)))
    raw.offers = offers_of(raw.values, raw.columns)
    return raw


def _column(value: Any, num_atoms: int) -> np.ndarray | None:
    """A value as numbers of the atoms, if it is that."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    is_column = array.ndim > 0 and len(array) == num_atoms and array.dtype.kind in "if"
    return array if is_column else None
