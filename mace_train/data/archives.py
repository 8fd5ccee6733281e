"""The files of frames inside an archive, which is read without being unpacked."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

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
        found = [info for info in archive.infolist() if _holds_frames(info.filename)]
    for info in found:
        if info.flag_bits & 1 or info.compress_type not in _METHODS:
            raise ValueError(
                f"{path} is encrypted, or packed by a method that Python does not know: "
                "unpack it and name its folder"
            )
    names = sorted((info.filename for info in found), key=natural_order)
    return [FrameFile(path, member=name) for name in names]


def _tar_members(path: Path) -> list[FrameFile]:
    members = []
    archive: Any
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isfile() and _holds_frames(info.name):
                members.append(
                    FrameFile(
                        path, member=info.name, begin=info.offset_data, size=info.size
                    )
                )
            archive.members = []  # else all headers stay in memory
    return members


def _holds_frames(name: str) -> bool:
    is_hidden = any(
        part.startswith((".", "__MACOSX")) for part in name.split("/") if part != "."
    )
    return name.lower().endswith(FRAME_SUFFIXES) and not is_hidden
