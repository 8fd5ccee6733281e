"""The bytes of a file of frames, whether it is plain, packed, or a member of an archive.

Packed bytes can only be read forward. So a stream is kept where reading ended: a process
that reads one part of a packed file after the other unpacks it once, not once for each.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from mace_train.data.frame_source import FrameFile

PACKED_SUFFIXES = (".gz", ".xz", ".bz2")
UNPACKING_ERRORS = (EOFError, OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
"""What reading damaged packed bytes raises."""

_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_TAR_OPENERS = {**_OPENERS, ".tgz": gzip.open, ".txz": lzma.open, ".tbz2": bz2.open}
_BLOCK = 1 << 20
_kept: list[tuple[tuple[int, str], Any]] = []  # at most one, with its process and name


def open_stream(file: FrameFile, *, begin: int = 0, end: int | None = None) -> Any:
    """Open a file of frames for reading bytes.

    Args:
        file: Plain, packed, or a member of an archive.
        begin: Byte of the unpacked file to begin at.
        end: Byte to stop before; None for the end of the file.
    """
    if file.size is not None:  # in a tar
        begin += file.begin
        end = file.begin + (file.size if end is None else min(end, file.size))
        return _window(file.path, "", begin, end)
    if file.member:
        if not begin and end is None:
            return _archive(file.path, os.getpid()).open(file.member)
        return _window(file.path, file.member, begin, end)
    if file.path.suffix.lower() in _OPENERS and (begin or end is not None):
        return _window(file.path, "", begin, end)
    if end is not None:
        return _Window(None, open_packed(file.path), begin, end).buffered()
    stream = open_packed(file.path)
    stream.seek(begin)
    return stream


def open_packed(path: Path) -> Any:
    """Open a file on disk, unpacking ``.gz``, ``.xz`` and ``.bz2`` on the way."""
    opener: Any = _TAR_OPENERS.get(path.suffix.lower(), Path.open)
    return opener(path, "rb")


def checksum(file: FrameFile) -> str:
    """The sha256 of a file as it lies on disk, or of an unpacked member.

    Of a member that cannot be unpacked, it is that of what can be and of its entry.
    """
    digest = hashlib.sha256()
    try:
        with open_stream(file) if file.member else file.path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except UNPACKING_ERRORS:
        if not file.member:
            raise
        digest.update(_entry(file).encode())
    return digest.hexdigest()


def close_kept_stream() -> None:
    """Close the stream that waits for being read on."""
    while _kept:
        _kept.pop()[1].close()


def _entry(file: FrameFile) -> str:
    """What an archive says of a member's bytes."""
    if file.size is not None:  # in a tar
        return f"{file.begin} {file.size}"
    info = _archive(file.path, os.getpid()).getinfo(file.member)
    return f"{info.CRC} {info.file_size}"


def _window(path: Path, member: str, begin: int, end: int | None) -> io.BufferedReader:
    """A part of unpacked bytes, on the stream kept by this process if it is of them."""
    name = (os.getpid(), f"{path}\0{member}")
    if _kept and _kept[0][0] == name:
        stream = _kept.pop()[1]
    elif member:
        stream = _archive(path, os.getpid()).open(member)
    else:
        stream = open_packed(path)
    return _Window(name, stream, begin, end).buffered()


@lru_cache(maxsize=1)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """The zip archive, opened by this process: a forked file would share its position."""
    del process  # it only tells the entries of the cache apart
    return zipfile.ZipFile(path)


class _Window(io.RawIOBase):
    """The bytes of a stream from one place to another.

    Args:
        name: Under which the stream is kept when the window closes; None to close it too.
        stream: Unpacked bytes, at any place.
        begin: First byte.
        end: Byte to stop before; None for the end.
    """

    def __init__(
        self, name: tuple[int, str] | None, stream: Any, begin: int, end: int | None
    ) -> None:
        self._name = name
        self._stream = stream
        self._left = None if end is None else end - begin
        self._stream.seek(begin)  # costs nothing where it is already

    def buffered(self) -> io.BufferedReader:
        """This window, read in larger blocks."""
        return io.BufferedReader(self, _BLOCK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        block = self._stream.read(
            len(view) if self._left is None else min(len(view), self._left)
        )
        view[: len(block)] = block
        if self._left is not None:
            self._left -= len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            if self._name is None:
                self._stream.close()
            else:
                close_kept_stream()
                _kept.append((self._name, self._stream))
        super().close()
