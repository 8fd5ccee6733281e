"""Which files a user means by ``data.train`` and its like: file, folder, glob or list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

FRAME_SUFFIXES = (".extxyz", ".xyz")
PACKED_SUFFIXES = (".gz", ".xz")
SHARD_SUFFIXES = (".h5", ".hdf5")
SAMPLE = "sample"

_CURES = {
    ".zip": "unpack it and name its folder",
    ".tar": "unpack it and name its folder",
    ".tgz": "unpack it and name its folder",
    ".bz2": "unpack it, or pack it as .xz or .gz",
    ".zst": "unpack it, or pack it as .xz or .gz",
}


def is_shard(path: Path) -> bool:
    """Whether a file is a shard by its name, rather than extended XYZ."""
    return path.suffix.lower() in SHARD_SUFFIXES


def expand_sources(spec: str | Path | Sequence[str | Path]) -> list[Path]:
    """Find the files that a user means.

    Args:
        spec: A file; a folder (all frames or shards in it and its sub-folders); a glob such
            as ``runs/*/OUT.extxyz``; the word ``sample`` for the data that come with
            mace-train; or a list of these.

    Returns:
        Existing files of one kind, extended XYZ or shards; within a folder or glob they are
        sorted by name with numbers as numbers.

    Raises:
        ValueError: If something named is missing, empty, of no known kind or named twice,
            or if extended XYZ and shards are mixed; the message names all that is missing.
    """
    specs = [spec] if isinstance(spec, (str, Path)) else list(spec)
    if not specs:
        raise ValueError("no data named: give a file, a folder, a glob or a list of these")
    found, missing = [], []
    for one in specs:
        paths = _expand(str(one))
        found += paths
        if not paths:
            missing.append(str(one))
    if missing:
        raise ValueError(f"found no data at {', '.join(missing)} (looked in {Path.cwd()})")
    _check_kinds(found)
    return found


def sample_path() -> Path:
    """The data that come with mace-train."""
    return Path(str(files("mace_train.sample").joinpath("sample.extxyz.xz")))


def _expand(spec: str) -> list[Path]:
    """Files of one word of the user; none if it leads nowhere."""
    path = Path.cwd() / Path(spec).expanduser()
    if spec == SAMPLE and not path.exists():
        path = sample_path()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _sorted(child for child in path.rglob("*") if _is_data(child, path))
    if any(sign in spec for sign in "*?["):
        root = Path(path.anchor)
        matches = list(root.glob(str(path.relative_to(root))))
        inside = [
            child for match in matches if match.is_dir() for child in _expand(str(match))
        ]
        return _sorted(match for match in matches if match.is_file()) + inside
    return []


def _is_data(path: Path, folder: Path) -> bool:
    """Whether a file found in a folder holds frames, and is not hidden."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and _kind(path) != ""


def _kind(path: Path) -> str:
    if is_shard(path):
        return "shards"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return "extended XYZ" if suffixes and suffixes[-1] in FRAME_SUFFIXES else ""


def _sorted(paths: object) -> list[Path]:
    """By name, with the numbers in it as numbers: 2 before 10."""
    return sorted(
        paths,  # type: ignore[call-overload]
        key=lambda path: [
            (0, int(part), "") if part.isdecimal() else (1, 0, part)
            for part in re.split(r"(\d+)", str(path))
        ],
    )


def _check_kinds(paths: Sequence[Path]) -> None:
    kinds: dict[str, Path] = {}
    for path in paths:
        kind = _kind(path)
        if not kind:
            cure = _CURES.get(
                path.suffix.lower(),
                f"convert it: ase convert {path.name} {path.stem}.extxyz",
            )
            raise ValueError(
                f"{path} is neither extended XYZ ({', '.join(FRAME_SUFFIXES)}, perhaps "
                f"packed as {' or '.join(PACKED_SUFFIXES)}) nor a shard "
                f"({', '.join(SHARD_SUFFIXES)}): {cure}"
            )
        kinds.setdefault(kind, path)
    if len(kinds) > 1:
        (kind, first), (other, second) = kinds.items()
        raise ValueError(
            f"{kind} ({first}) and {other} ({second}) are mixed: name one kind, for "
            f"example {second.parent}/*{second.suffix}"
        )
    seen: set[Path] = set()
    for path in paths:
        absolute = path.resolve()
        if absolute in seen:
            raise ValueError(
                f"{path} is named twice: its frames would count twice and could be on both "
                "sides of a split"
            )
        seen.add(absolute)
