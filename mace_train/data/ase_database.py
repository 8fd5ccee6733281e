"""Frames of ASE databases: SQLite (``.db``) and LMDB (``.aselmdb``).

A row's results are its labels; its key-value pairs and its data stand beside them, so that
a group key or a label of another name is found there.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any

import ase.db
import numpy as np
from ase.db.row import AtomsRow
from ase.io.formats import UnknownFileTypeError

from mace_train.data.ase_files import raw_from_atoms
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

try:
    import lmdb
    from ase_db_backends.aselmdb import LMDBDatabase
except ImportError:  # an optional package
    lmdb = LMDBDatabase = None

LMDB_SUFFIX = ".aselmdb"
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
                    yield _raw_from_row(row, index)
            except _DAMAGE as error:
                raise BrokenFileError(
                    "and all that follow cannot be read",
                    cure="The database is damaged: copy it again.",
                    detail=f"{type(error).__name__}: {error}",
                ) from error


@contextmanager
def _opened(file: FrameFile) -> Iterator[Any]:
    """A database, for reading only.

    Raises:
        ValueError: If it is none, or the package that reads LMDB is missing.
    """
    options: dict[str, Any] = {}
    is_lmdb = file.path.suffix.lower() == LMDB_SUFFIX
    if is_lmdb and lmdb is None:
        raise ValueError(f"{file} is an LMDB: to read it, pip install 'mace-train[lmdb]'")
    try:
        if is_lmdb and lmdb is not None:
            # Where this fails, the next class would leave an object half made.
            lmdb.open(str(file.path), subdir=False, readonly=True, lock=False).close()
            options = {"type": "aselmdb", "readonly": True}
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


def _ids(file: FrameFile, database: Any) -> list[int]:
    """The keys of all rows, ascending."""
    if file.path.suffix.lower() == ".db":  # ASE would read the rows whole
        with closing(
            sqlite3.connect(f"{file.path.absolute().as_uri()}?mode=ro", uri=True)
        ) as db:
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
    bounds: list[Any] = [("id", ">=", first)]
    if last is not None:
        bounds.append(("id", "<", last))
    yield from database.select(bounds, sort="id")


def _raw_from_row(row: AtomsRow, index: int) -> RawFrame:
    """Bring a row into the form of the plain parser; its results go first."""
    raw = raw_from_atoms(row.toatoms(), index=index)
    for name, value in {**row.data, **row.key_value_pairs}.items():
        is_column = np.ndim(value) > 0 and len(value) == row.natoms
        if is_column and np.asarray(value).dtype.kind in "if":
            raw.columns.setdefault(name, np.asarray(value))
        raw.values.setdefault(name, value)
    raw.names = tuple(dict.fromkeys((*raw.values, *raw.columns)))
    return raw
