"""A first look at the user's files: their checksums, and where their frames begin.

Frames are only counted, not read, at the speed of the disk; so the work can be cut into
equal pieces, a killed preparation knows what is left, and the progress bar knows the end.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import islice
from pathlib import Path

from mace_train.data.extxyz import UNPACKING_ERRORS, announced_atoms, open_bytes


@dataclass(frozen=True)
class Mark:
    """Where a frame begins in its (unpacked) file."""

    frame: int
    offset: int
    line: int


@dataclass(frozen=True)
class Source:
    """One of the user's files.

    Attributes:
        path: The file.
        name: What splits and messages call it: the end of its path that no other file
            shares.
        sha256: Checksum of its bytes.
        num_frames: Frames that could be counted; the reader has the last word.
        marks: Beginnings of every ``stride``-th frame.
    """

    path: Path
    name: str
    sha256: str
    num_frames: int
    marks: tuple[Mark, ...]


def scan_sources(paths: Sequence[Path], *, stride: int) -> list[Source]:
    """Count the frames of files and compute their checksums.

    Args:
        paths: Files of extended XYZ, perhaps packed (``.gz``, ``.xz``).
        stride: Distance in frames between marks.
    """
    names = short_names(paths)
    return [_scan(path, name, stride) for path, name in zip(paths, names)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths, in whole parts, that tell the files apart.

    >>> short_names([Path("/data/a/train.xyz"), Path("/data/b/train.xyz"), Path("/c.xyz")])
    ['a/train.xyz', 'b/train.xyz', 'c.xyz']
    """
    absolute = [path.absolute() for path in paths]
    lengths = [1] * len(paths)
    while True:
        names = ["/".join(path.parts[-n:]) for path, n in zip(absolute, lengths)]
        places: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(name, []).append(place)
        shared = [
            place
            for group in places.values()
            if len({absolute[place] for place in group}) > 1
            for place in group
        ]
        if not shared:
            return names
        for place in shared:
            lengths[place] += 1


def _scan(path: Path, name: str, stride: int) -> Source:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    count = 0
    marks: list[Mark] = []
    with open_bytes(path) as file, suppress(*UNPACKING_ERRORS):
        # The reader meets again what ends this walk early, and says what is wrong there.
        for mark in _frame_begins(file):
            if mark.frame % stride == 0:
                marks.append(mark)
            count += 1
    return Source(path, name, digest.hexdigest(), count, tuple(marks))


def _frame_begins(file: BufferedIOBase) -> Iterator[Mark]:
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
