"""What a file holds, told by its name, and where that is not enough by its beginning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from mace_train.data.archives import FRAME_SUFFIXES, archive_members, is_archive
from mace_train.data.ase_database import LMDB_SUFFIX, is_of_another_program
from mace_train.data.ase_files import ase_format
from mace_train.data.byte_streams import PACKED_SUFFIXES
from mace_train.data.frame_source import Form, FrameFile
from mace_train.data.mptrj_json import is_mptrj_json

SHARD_SUFFIXES = (".h5", ".hdf5")
DATABASE_SUFFIXES = (".db", LMDB_SUFFIX)

_log = logging.getLogger(__name__)

Kind = Literal[
    "shards",
    "extended XYZ",
    "archive",
    "MPtrj's JSON",
    "ASE database",
    "file that ASE reads",
    "",
]

_CURES = {
    ".zst": "unpack it, or pack it as .xz or .gz",
    ".7z": "unpack it and name its folder",
    ".rar": "unpack it and name its folder",
    ".lmdb": "it holds pickled objects of another program, which mace-train does not "
    "execute: write its frames as .aselmdb or extended XYZ with that program",
}
_RUN_FILES = ("outcar", "vasprun.xml")  # taken in a folder without being named
_FORM_BY_KIND: dict[Kind, Form] = {
    "extended XYZ": "extxyz",
    "MPtrj's JSON": "mptrj_json",
    "ASE database": "ase_database",
    "file that ASE reads": "ase_file",
}


def is_shard(path: Path) -> bool:
    """Whether a file is a shard by its name, rather than a file of frames."""
    return path.suffix.lower() in SHARD_SUFFIXES


def kind_in_folder(path: Path) -> Kind:
    """What a file found in a folder holds; empty if it is not taken unless it is named."""
    kind = _usual_kind(path)
    if kind == "ASE database" and is_of_another_program(path):
        _log.warning("%s passed over: it is no ASE database", path)
        return ""
    return kind


def kind_of_named(path: Path) -> Kind:
    """What a file holds that the user named.

    Raises:
        ValueError: If it is nothing that can be read; the message says what to do.
    """
    kind = _usual_kind(path)
    if kind:
        return kind
    if path.suffix.lower() not in _CURES and (name := ase_format(path)):
        return "ASE database" if name == "json" else "file that ASE reads"
    cure = _CURES.get(
        path.suffix.lower(), f"convert it: ase convert {path.name} {path.stem}.extxyz"
    )
    raise ValueError(
        f"{path} is neither extended XYZ ({', '.join(FRAME_SUFFIXES)}, perhaps packed as "
        f"{', '.join(PACKED_SUFFIXES)}) nor a shard ({', '.join(SHARD_SUFFIXES)}), nor of "
        f"another form that mace-train or ASE know: {cure}"
    )


def frame_files(path: Path) -> list[FrameFile]:
    """The file as its reader sees it; the members of an archive.

    Raises:
        ValueError: If it cannot be read.
    """
    kind = kind_of_named(path)
    if kind == "archive":
        return archive_members(path)
    return [FrameFile(path, _FORM_BY_KIND[kind])]


def _usual_kind(path: Path) -> Kind:
    """What a file holds if it is of a kind that is looked for; else empty."""
    lower = path.name.lower()
    packing = next((end for end in PACKED_SUFFIXES if lower.endswith(end)), "")
    unpacked = lower.removesuffix(packing)
    if unpacked.endswith(FRAME_SUFFIXES):
        return "extended XYZ"
    if lower.endswith(SHARD_SUFFIXES):
        return "shards"
    if is_archive(path):
        return "archive"
    if lower.endswith(DATABASE_SUFFIXES):
        return "ASE database"
    if lower.endswith(".traj") or unpacked in _RUN_FILES:
        return "file that ASE reads"
    if unpacked.endswith(".json") and is_mptrj_json(path):
        return "MPtrj's JSON"
    return ""
