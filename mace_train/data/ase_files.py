"""Frames of every other file that ASE reads, such as ``.traj``, OUTCAR or vasprun.xml.

ASE tells the format by the file's name and its first bytes. Labels are the results that it
puts into the calculator, and values and columns of the structure itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat
from ase.io.trajectory import Trajectory

from mace_train.data.byte_streams import checksum
from mace_train.data.frame_source import (
    BrokenFileError,
    Contents,
    FrameFile,
    Mark,
    ReadFrame,
    Span,
)
from mace_train.data.look_alikes import look_alike, offer_of
from mace_train.data.plain_frame import RawFrame

_COLUMNS = ("forces", "magmoms", "charges")  # results that are arrays over atoms


class AseFormat:
    """Reads files through `ase.io.iread` (see `frame_source.FrameFormat`)."""

    def scan(self, file: FrameFile, *, stride: int) -> Contents:
        """Count the frames of a file by reading it, with a mark every ``stride`` frames."""
        count = 0
        with suppress(BrokenFileError):  # the reader meets it again
            if file.path.suffix.lower() == ".traj":
                count = _length_of_trajectory(file.path)
            else:
                for _ in _iread(file.path, 0, None):
                    count += 1
        marks = tuple(Mark(frame, frame) for frame in range(0, count, stride))
        return Contents(count, marks, checksum(file))

    def read(
        self, file: FrameFile, span: Span, *, wanted: Collection[str]
    ) -> Iterator[ReadFrame]:
        """Read the frames of a span, with all their values and columns."""
        del wanted
        start, stop = span
        structures = _iread(file.path, start.frame, stop and stop.frame)
        for index, atoms in enumerate(structures, start.frame):
            yield raw_from_atoms(atoms, index=index)


def ase_format(path: Path) -> str:
    """The name that ASE has for the format of a file; empty if it cannot read it."""
    try:
        name = filetype(str(path))
        return name if get_ioformat(name).can_read else ""
    except (UnknownFileTypeError, OSError):
        return ""


def raw_from_atoms(atoms: Atoms, *, index: int, line_number: int = 1) -> RawFrame:
    """Bring an ASE structure into the form of the plain parser.

    Labels that ASE moves to the calculator are put back beside the others.

    Args:
        atoms: The structure.
        index: Its place in the file.
        line_number: The line of the file at which it begins.
    """
    values: dict[str, Any] = dict(atoms.info)
    columns: dict[str, np.ndarray] = {
        name: array
        for name, array in atoms.arrays.items()
        if name not in ("numbers", "positions")
    }
    for name, result in (atoms.calc.results if atoms.calc else {}).items():
        is_column = np.ndim(result) > 0 and name in _COLUMNS
        (columns if is_column else values)[name] = result
    return RawFrame(
        index=index,
        line_number=line_number,
        atomic_numbers=atoms.get_atomic_numbers().astype(np.int64),
        positions=atoms.get_positions(),
        cell=np.array(atoms.cell.array),
        pbc=np.array(atoms.get_pbc()),
        values=values,
        columns=columns,
        names=(*values, *columns),
        offers=offers_of(values, columns),
    )


def offers_of(
    values: dict[str, Any], columns: dict[str, np.ndarray]
) -> tuple[tuple[str, str], ...]:
    """What values and columns look like, as (`Offer`, name), whether they are read or not.

    Args:
        values: Of a frame, by their names.
        columns: Arrays over its atoms, by their names.
    """
    found = []
    for holder, per_atom in ((values, False), (columns, True)):
        for name, value in holder.items():
            if not look_alike(name) or not _is_numeric(value):
                continue
            size = int(np.prod(np.shape(value)[1:])) if per_atom else int(np.size(value))
            if offer := offer_of(name, size, per_atom=per_atom):
                found.append((offer, name))
    return tuple(found)


def _is_numeric(value: object) -> bool:
    try:
        return np.asarray(value).dtype.kind in "if"
    except ValueError:  # rows of different lengths
        return False


def _length_of_trajectory(path: Path) -> int:
    """Frames of ASE's own trajectory, which knows their number."""
    try:
        with Trajectory(str(path)) as trajectory:
            return len(trajectory)
    except Exception as error:  # ASE's readers raise whatever they meet
        raise BrokenFileError("cannot be read", cure="", detail=str(error)) from error


def _iread(path: Path, start: int, stop: int | None) -> Iterator[Atoms]:
    """Structures of a file, as ASE reads them.

    Raises:
        BrokenFileError: If ASE cannot read on.
    """
    name = ""
    try:
        name = filetype(str(path))
        yield from ase.io.iread(
            str(path),
            index=slice(start or None, stop),  # a file of one frame takes no start
            format=name,
            parallel=False,
            do_not_split_by_at_sign=True,
        )
    except Exception as error:  # ASE's readers raise whatever they meet
        form = name or "no form it knows"
        raise BrokenFileError(
            "and all that follow cannot be read",
            cure="The file is damaged, or its calculation did not finish: mend or "
            "remove it.",
            detail=f"as {form}, ASE says {type(error).__name__}: {error}",
        ) from error
