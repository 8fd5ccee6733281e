"""The files of frames inside an archive, which is read without being unpacked."""

from __future__ import annotations

import logging
import posixpath
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from mace_train.data.byte_streams import UNPACKING_ERRORS
from mace_train.data.frame_source import FrameFile

ARCHIVE_SUFFIXES = (
    ".zip",
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.xz",
    ".txz",
    ".tar.bz2",
    ".tbz2",
)
FRAME_SUFFIXES = (".extxyz", ".xyz")

_Entry = TypeVar("_Entry")
_log = logging.getLogger(__name__)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def archive_members(path: Path) -> list[FrameFile]:
    """The files of extended XYZ in an archive.

    Args:
        path: A zip archive, or a tar archive, perhaps packed.

    Returns:
        Those of a zip archive sorted as in a folder; those of a tar archive, which can only
        be read forward, in their order.

    Raises:
        ValueError: If it is damaged, encrypted, or holds no extended XYZ.
    """
    try:
        is_zip = path.suffix.lower() == ".zip"
        members = _zip_members(path) if is_zip else _tar_members(path)
    except (tarfile.TarError, *UNPACKING_ERRORS) as error:
        raise ValueError(
            f"{path} is damaged or incomplete ({error}): fetch it again"
        ) from error
    if not members:
        raise ValueError(
            f"{path} holds no extended XYZ ({', '.join(FRAME_SUFFIXES)}): name an archive "
            "that does, or unpack it and name what it holds"
        )
    return members


def natural_order(name: str) -> tuple[str | int, ...]:
    """A key to sort names by, with the numbers in them as numbers: 2 before 10.

    >>> natural_order("part10.xyz")
    ('part', 10, '.xyz')
    """
    parts = re.split(r"(\d+)", name)  # text and digits in turn
    return tuple(int(part) if k % 2 else part for k, part in enumerate(parts))


def _zip_members(path: Path) -> list[FrameFile]:
    with zipfile.ZipFile(path) as archive:
        entries = [info for info in archive.infolist() if _holds_frames(info.filename)]
    found = _last_of_each(path, [(info.filename, info) for info in entries])
    for info in found:
        if info.flag_bits & 1 or info.compress_type not in _METHODS:
            raise ValueError(
                f"{path} is encrypted, or packed by a method that Python does not know: "
                "unpack it and name its folder"
            )
    names = sorted((info.filename for info in found), key=natural_order)
    return [FrameFile(path, member=name) for name in names]


def _tar_members(path: Path) -> list[FrameFile]:
    members: list[tuple[str, FrameFile]] = []
    archive: Any
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isfile() and _holds_frames(info.name):
                begin, size = info.offset_data, info.size
                file = FrameFile(path, member=info.name, begin=begin, size=size)
                members.append((info.name, file))
            archive.members = []  # else all headers stay in memory
        archive.fileobj.seek(archive.offset)
        # Python takes a header that makes no sense for the end, which is a block of zeros.
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header of a member at byte {archive.offset}")
    return _last_of_each(path, members)


def _last_of_each(path: Path, entries: Iterable[tuple[str, _Entry]]) -> list[_Entry]:
    """Entries by their names; of a name that comes again the last, as when unpacked."""
    last: dict[str, _Entry] = {}
    for name, entry in entries:
        place = posixpath.normpath(name.lstrip("/"))
        if last.pop(place, None) is not None:
            _log.warning("%s holds %s several times: the last one is read", path, place)
        last[place] = entry
    return list(last.values())


def _holds_frames(name: str) -> bool:
    is_hidden = any(
        part.startswith((".", "__MACOSX")) for part in name.split("/") if part != "."
    )
    return name.lower().endswith(FRAME_SUFFIXES) and not is_hidden
