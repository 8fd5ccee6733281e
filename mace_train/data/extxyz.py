"""Stream extended XYZ: cut a file into frames and read them with its names and units.

Plain frames, nearly all of them, go through our own short parser (`plain_frame`), and every
odd one (escapes, JSON, other orders of columns, cell vectors below the atoms) through ASE,
to whose result the short parser is held by a property test. Nothing but one frame is in
memory.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np

from mace_train.data.plain_frame import PlainFrameParser, RawFrame, TextFrame
from mace_train.data.problems import FrameError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ase import Atoms

UNPACKING_ERRORS = (EOFError, OSError, lzma.LZMAError, zlib.error)
"""What reading a damaged ``.gz`` or ``.xz`` file raises."""

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_MAX_ATOMS = 2**31  # of a frame: a larger number is none, and no file holds so many lines


class BrokenFileError(FrameError):
    """The file cannot be read on from here: where the next frame begins is unclear."""


def open_bytes(path: Path) -> Any:
    """Open a file for reading bytes, unpacking ``.gz`` and ``.xz`` on the way."""
    opener: Any = _OPENERS.get(path.suffix.lower(), Path.open)
    return opener(path, "rb")


def open_at(path: Path, *, offset: int = 0) -> io.TextIOWrapper:
    """Open a file for reading text, unpacking ``.gz`` and ``.xz`` on the way.

    Args:
        path: The file.
        offset: Byte of the unpacked file to begin at.
    """
    binary = open_bytes(path)
    binary.seek(offset)
    return io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape")


def announced_atoms(header: str | bytes) -> int | None:
    """The number of atoms that the first line of a frame announces; None if it does not."""
    try:
        count = int(header)
    except ValueError:
        return None
    return count if 0 <= count < _MAX_ATOMS else None


def iterate_text_frames(
    file: io.TextIOBase, *, first: int = 0, line_number: int = 1, start: int = 0
) -> Iterator[TextFrame]:
    """Cut an open file into the lines of its frames.

    Args:
        file: At the beginning of a frame.
        first: The number of that frame.
        line_number: The number of that line.
        start: The first frame to give; those before are passed over.

    Raises:
        BrokenFileError: Where a number of atoms is expected and something else stands, or
            the file ends inside a frame. All frames before that are given first.
    """
    index = first
    header = file.readline()
    while True:
        while header and not header.strip():
            header, line_number = file.readline(), line_number + 1
        if not header:
            return
        num_atoms = announced_atoms(header)
        if num_atoms is None:
            raise BrokenFileError(
                "do not begin with a number of atoms",
                cure="The frame before says a wrong number of atoms, or this is not "
                "(extended) XYZ. Mend the file at that line.",
                detail=f"line {line_number} is {header.rstrip()[:60]!r}",
            )
        comment = file.readline()
        atom_lines = list(islice(file, num_atoms))
        if not comment or len(atom_lines) < num_atoms:
            raise BrokenFileError(
                "are cut off by the end of the file",
                cure="The file is incomplete: copy or convert it again, or remove its last "
                "frame.",
                detail=f"line {line_number} announces {num_atoms} atoms, "
                f"{len(atom_lines)} follow",
            )
        cell_lines: list[str] = []
        next_header = file.readline()
        while next_header.lstrip().startswith("VEC"):
            cell_lines.append(next_header)
            next_header = file.readline()
        if index >= start:
            yield TextFrame(index, line_number, header, comment, atom_lines, cell_lines)
        index += 1
        line_number += 2 + num_atoms + len(cell_lines)
        header = next_header


def read_raw_frames(
    file: io.TextIOBase,
    *,
    wanted: Collection[str],
    first: int = 0,
    line_number: int = 1,
    start: int = 0,
) -> Iterator[RawFrame | tuple[TextFrame, FrameError]]:
    """Read the frames of an open file.

    Args:
        file: At the beginning of a frame.
        wanted: Names of the values and columns to read; all others are only listed.
        first: The number of that frame.
        line_number: The number of that line.
        start: The first frame to give; those before are passed over.

    Yields:
        A frame; or, for one whose lines make no sense, its text and what is wrong with it.

    Raises:
        BrokenFileError: If the file cannot be cut into frames from some line on.
    """
    parser = PlainFrameParser(wanted)
    for text in iterate_text_frames(
        file, first=first, line_number=line_number, start=start
    ):
        raw = parser.parse(text)
        if raw is None:
            try:
                raw = read_with_ase(text)
            except FrameError as problem:
                yield text, problem
                continue
        yield raw


def read_with_ase(text: TextFrame) -> RawFrame:
    """Read one frame as ASE does.

    Labels that ASE moves to the calculator are put back beside the others.

    Raises:
        FrameError: If ASE cannot read it either; the message shows the line.
    """
    lines = [text.header, text.comment, *text.atom_lines, *text.cell_lines]
    content = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
    try:
        atoms = ase.io.read(io.StringIO(content), index=0, format="extxyz")
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _unreadable(text, error) from error
    assert not isinstance(atoms, list)
    return _raw_from_atoms(atoms, text)


def _raw_from_atoms(atoms: Atoms, text: TextFrame) -> RawFrame:
    """Bring an ASE structure into the form of the plain parser."""
    values: dict[str, Any] = dict(atoms.info)
    columns: dict[str, np.ndarray] = {
        name: array
        for name, array in atoms.arrays.items()
        if name not in ("numbers", "positions")
    }
    for name, result in (atoms.calc.results if atoms.calc else {}).items():
        is_column = np.ndim(result) > 0 and name in ("forces", "magmoms", "charges")
        (columns if is_column else values)[name] = result
    return RawFrame(
        index=text.number,
        line_number=text.line_number,
        atomic_numbers=atoms.get_atomic_numbers().astype(np.int64),
        positions=atoms.get_positions(),
        cell=np.array(atoms.cell.array),
        pbc=np.array(atoms.get_pbc()),
        values=values,
        columns=columns,
        names=(*values, *columns),
    )


def _unreadable(text: TextFrame, error: Exception) -> FrameError:
    """Say which line of a frame cannot be read, if one stands out, and what ASE says."""
    width = _num_columns(text.comment)
    for number, line in enumerate(text.atom_lines):
        if len(line.split()) < width:
            return FrameError(
                "have a line with too few columns",
                cure="Mend the file at that line: a frame may say a wrong number of atoms.",
                detail=f"line {text.line_number + 2 + number} is {line.strip()[:60]!r}",
            )
    return FrameError(
        "cannot be read",
        cure="Mend the frame at that line.",
        detail=f"from line {text.line_number}, ASE says {type(error).__name__}: {error}",
    )


def _num_columns(comment: str) -> int:
    """Columns that the comment line announces for each atom; 0 if it is not clear."""
    announced = re.search(r"""\bProperties=["']?([^\s"']+)""", comment)
    if announced is None:
        return 4  # a symbol and three coordinates
    widths = announced[1].split(":")[2::3]
    return sum(map(int, widths)) if all(map(str.isdecimal, widths)) else 0
