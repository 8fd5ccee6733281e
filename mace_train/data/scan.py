"""A first look at the user's files: their checksums, and where their frames begin.

Frames are only counted, not read, at the speed of the disk; so the work can be cut into
equal pieces, a killed preparation knows what is left, and the progress bar knows the end.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import islice
from pathlib import Path

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}


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
    with _OPENERS.get(path.suffix.lower(), Path.open)(path, "rb") as file:
        count, marks = _count_frames(file, stride)
    return Source(path, name, digest.hexdigest(), count, marks)


def _count_frames(file: BufferedIOBase, stride: int) -> tuple[int, tuple[Mark, ...]]:
    """Walk from frame to frame until the end, or until something is no frame."""
    count, offset, line_number = 0, 0, 1
    marks: list[Mark] = []
    for header in iter(file.readline, b""):
        if not header.strip() or header.lstrip().startswith(b"VEC"):
            offset, line_number = offset + len(header), line_number + 1
            continue
        try:
            num_lines = int(header) + 1
        except ValueError:
            break  # the reader says what is wrong here
        if count % stride == 0:
            marks.append(Mark(count, offset, line_number))
        lengths = deque(map(len, islice(file, num_lines)))
        if len(lengths) < num_lines:
            break
        offset += len(header) + sum(lengths)
        line_number += 1 + num_lines
        count += 1
    return count, tuple(marks)
