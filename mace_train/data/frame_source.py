"""What all readers of frames have in common: files, marks in them, spans between marks.

A reader first scans a file for places where reading can begin, so that the work can be cut
into shards; later it reads the span between two such places, in any process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

from mace_train.data.plain_frame import RawFrame
from mace_train.data.problems import FrameError

Form = Literal["extxyz", "mptrj_json", "ase_database", "ase_file"]
"""How the frames of a file are written down; `frame_formats` has a reader for each."""

ReadFrame: TypeAlias = "RawFrame | tuple[int, FrameError]"
"""A frame; or, where its text makes no sense, its place in the file and what is wrong."""


class BrokenFileError(FrameError):
    """The file cannot be read on from here: where the next frame begins is unclear."""


@dataclass(frozen=True, slots=True)  # there may be 100,000
class FrameFile:
    """One file of frames, on disk or inside an archive.

    Attributes:
        path: The file, or the archive it is in.
        form: How its frames are written down.
        member: Its name inside the archive.
        begin: Where it begins in an (unpacked) tar archive, in bytes.
        size: Its length there; None for all other files.
    """

    path: Path
    form: Form = "extxyz"
    member: str = ""
    begin: int = 0
    size: int | None = None

    @property
    def full_path(self) -> Path:
        """The path, with that inside the archive behind it."""
        return self.path / self.member.lstrip("/") if self.member else self.path

    def __str__(self) -> str:
        return str(self.full_path)


class Mark(NamedTuple):
    """Where a frame begins.

    Attributes:
        frame: Its place in the file, from 0.
        offset: What its reader finds it by: a byte of the (unpacked) file, or a row's id.
        line: Its line in a text file, from 1.
    """

    frame: int = 0
    offset: int = 0
    line: int = 1


class Span(NamedTuple):
    """Consecutive frames of a file, from a mark to another, or to the end (None)."""

    start: Mark = Mark()
    stop: Mark | None = None


class Contents(NamedTuple):
    """What a scan finds in a file.

    Attributes:
        num_frames: Frames that could be counted; reading has the last word.
        marks: Where reading can begin, with at most as many frames between as were asked
            for, where the form allows that.
        sha256: Checksum of the file's bytes (those of a member are unpacked).
    """

    num_frames: int
    marks: tuple[Mark, ...]
    sha256: str


class FrameFormat(Protocol):
    """A reader of one form of files."""

    def scan(self, file: FrameFile, *, stride: int) -> Contents:
        """Count the frames of a file, with marks at most ``stride`` frames apart.

        Raises:
            ValueError: If the file is not of this form, or a package to read it is missing.
                What is wrong with single frames is left to `read`.
        """
        ...

    def read(
        self, file: FrameFile, span: Span, *, wanted: Collection[str]
    ) -> Iterator[ReadFrame]:
        """Read the frames of a span.

        Args:
            file: The file.
            span: From where to where.
            wanted: Names of the values and columns that are needed; others are perhaps
                only listed.

        Raises:
            BrokenFileError: If the file cannot be read on.
        """
        ...
