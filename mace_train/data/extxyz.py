"""Stream extended XYZ: cut a file into frames and read them with its names and units.

Plain frames, nearly all of them, go through our own short parser (`plain_frame`), and every
odd one (escapes, JSON, other orders of columns, cell vectors below the atoms) through ASE,
to whose result the short parser is held by a property test. Nothing but one frame is in
memory.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import ase.io

from mace_train.data.ase_files import raw_from_atoms
from mace_train.data.byte_streams import (
    PACKED_SUFFIXES,
    UNPACKING_ERRORS,
    checksum,
    open_stream,
)
from mace_train.data.frame_source import (
    BrokenFileError,
    Contents,
    FrameFile,
    Mark,
    ReadFrame,
    Span,
)
from mace_train.data.plain_frame import PlainFrameParser, RawFrame, TextFrame
from mace_train.data.problems import FrameError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_MAX_ATOMS = 2**31  # of a frame: a larger number is none, and no file holds so many lines
_SMALL = 1 << 22  # bytes: files below are read once for checksum and count


class ExtxyzFormat:
    """Reads extended XYZ (see `frame_source.FrameFormat`)."""

    def scan(self, file: FrameFile, *, stride: int) -> Contents:
        """Count the frames of a file, with a mark every ``stride`` frames."""
        is_packed = not file.member and file.path.suffix.lower() in PACKED_SUFFIXES
        content, count = b"", 0
        marks: list[Mark] = []
        # The reader meets again what ends this walk early, and says what is wrong there.
        with suppress(*UNPACKING_ERRORS):
            if not is_packed:
                with open_stream(file) as stream:
                    content = stream.read(_SMALL)
            is_small = 0 < len(content) < _SMALL
            with io.BytesIO(content) if is_small else open_stream(file) as stream:
                for mark in _frame_begins(stream):
                    if mark.frame % stride == 0:
                        marks.append(mark)
                    count += 1
        is_small = 0 < len(content) < _SMALL
        sha256 = hashlib.sha256(content).hexdigest() if is_small else checksum(file)
        return Contents(count, tuple(marks), sha256)

    def read(
        self, file: FrameFile, span: Span, *, wanted: Collection[str]
    ) -> Iterator[ReadFrame]:
        """Read the frames of a span; see `read_raw_frames`."""
        start, stop = span
        end = None if stop is None else stop.offset
        try:
            with open_stream(file, begin=start.offset, end=end) as stream:
                text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape")
                yield from read_raw_frames(
                    text, wanted=wanted, first=start.frame, line_number=start.line
                )
        except UNPACKING_ERRORS as error:
            raise BrokenFileError(
                "and all that follow cannot be unpacked",
                cure="The file is damaged: copy it again.",
                detail=str(error),
            ) from error


def announced_atoms(header: str | bytes) -> int | None:
    """The number of atoms that the first line of a frame announces; None if it does not."""
    try:
        count = int(header)
    except ValueError:
        return None
    return count if 0 <= count < _MAX_ATOMS else None


def iterate_text_frames(
    file: io.TextIOBase, *, first: int = 0, line_number: int = 1
) -> Iterator[TextFrame]:
    """Cut an open file into the lines of its frames.

    Args:
        file: At the beginning of a frame.
        first: The number of that frame.
        line_number: The number of that line.

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
) -> Iterator[ReadFrame]:
    """Read the frames of an open file.

    Args:
        file: At the beginning of a frame.
        wanted: Names of the values and columns to read; all others are only listed.
        first: The number of that frame.
        line_number: The number of that line.

    Yields:
        A frame; or, for one whose lines make no sense, its place and what is wrong with it.

    Raises:
        BrokenFileError: If the file cannot be cut into frames from some line on.
    """
    parser = PlainFrameParser(wanted)
    for text in iterate_text_frames(file, first=first, line_number=line_number):
        raw = parser.parse(text)
        if raw is None:
            try:
                raw = read_with_ase(text)
            except FrameError as problem:
                yield text.number, problem
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
    return raw_from_atoms(atoms, index=text.number, line_number=text.line_number)


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


def _frame_begins(file: Any) -> Iterator[Mark]:
    """Walk from frame to frame until the end, or until something is no frame."""
    frame, offset, line_number = 0, 0, 1
    for header in iter(file.readline, b""):
        if not header.strip() or header.lstrip().startswith(b"VEC"):
            offset, line_number = offset + len(header), line_number + 1
            continue
        num_atoms = announced_atoms(header)
        if num_atoms is None:
            return
        lengths = deque(map(len, islice(file, num_atoms + 1)))
        if len(lengths) < num_atoms + 1:
            return
        yield Mark(frame, offset, line_number)
        offset += len(header) + sum(lengths)
        line_number += 2 + num_atoms
        frame += 1
