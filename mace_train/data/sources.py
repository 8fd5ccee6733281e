"""Which files a user means by ``data.train`` and its like: file, folder, glob or list."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from mace_train.data.archives import natural_order
from mace_train.data.file_kinds import Kind, is_shard, kind_in_folder, kind_of_named

__all__ = ["expand_sources", "is_shard", "sample_path"]

SAMPLE = "sample"

_log = logging.getLogger(__name__)
_WHOLE_SETS: tuple[Kind, ...] = ("archive", "MPtrj's JSON")  # perhaps also there unpacked


def expand_sources(spec: str | Path | Sequence[str | Path]) -> list[Path]:
    """Find the files that a user means.

    Args:
        spec: A file; a folder (all frames or shards in it and its sub-folders); a glob such
            as ``runs/*/OUT.extxyz``; the word ``sample`` for the data that come with
            mace-train; or a list of these.

    Returns:
        Existing files, of frames or shards; within a folder or glob they are sorted by name
        with numbers as numbers.

    Raises:
        ValueError: If something named is missing, empty, of no known kind or named twice,
            if frames and shards are mixed, or if a folder may hold the same frames twice;
            the message names all that is missing.
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
        return _in_folder(path)
    if any(sign in spec for sign in "*?["):
        root = Path(path.anchor)
        matches = list(root.glob(str(path.relative_to(root))))
        inside = [
            child for match in matches if match.is_dir() for child in _expand(str(match))
        ]
        return _sorted(match for match in matches if match.is_file()) + inside
    return []


def _in_folder(folder: Path) -> list[Path]:
    """Files of frames or shards in a folder and those below, without hidden ones.

    Raises:
        ValueError: If the same frames may be there twice.
    """
    loose, whole_sets = [], []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            kind = "" if name.startswith(".") else kind_in_folder(path)
            if kind:
                (whole_sets if kind in _WHOLE_SETS else loose).append(path)
    _check_runs(loose)
    if not loose and len(whole_sets) > 1:
        raise ValueError(
            f"{folder} holds several data sets, perhaps with the same frames: name one of "
            f"them, or several in a list ({', '.join(map(str, _sorted(whole_sets)))})"
        )
    if loose and whole_sets:
        _log.warning(
            "%s passed over, since %s lies beside, perhaps the same frames unpacked: name "
            "what you want to read",
            ", ".join(map(str, _sorted(whole_sets))),
            min(loose),
        )
    return _sorted(loose or whole_sets)


def _check_runs(paths: Iterable[Path]) -> None:
    """Refuse two files of one VASP run, which hold the same frames."""
    run_by_folder: dict[Path, Path] = {}
    for path in paths:
        if path.name.lower().startswith(("outcar", "vasprun.xml")):
            other = run_by_folder.setdefault(path.parent, path)
            if other != path:
                raise ValueError(
                    f"{other} and {path.name} hold the same frames: name one of them, for "
                    f"example data.train='{path.parent.parent}/**/vasprun.xml'"
                )


def _sorted(paths: Iterable[Path]) -> list[Path]:
    """By name, with the numbers in it as numbers: 2 before 10."""
    return sorted(paths, key=lambda path: natural_order(str(path)))


def _check_kinds(paths: Sequence[Path]) -> None:
    """Refuse files of no known kind, shards beside others, and files named twice."""
    first: dict[bool, Path] = {}
    for path in paths:
        first.setdefault(kind_of_named(path) == "shards", path)
    if len(first) > 1:
        raise ValueError(
            f"frames ({first[False]}) and shards ({first[True]}) are mixed: name one kind, "
            f"for example {first[True].parent}/*{first[True].suffix}"
        )
    seen: set[str] = set()
    for path in paths:
        real = _real(path)
        if real in seen:
            raise ValueError(
                f"{path} is named twice: its frames would count twice and could be on both "
                "sides of a split"
            )
        seen.add(real)


def _real(path: Path) -> str:
    """The file that a name leads to; folders are looked up once."""
    if path.is_symlink():
        return os.path.realpath(path)
    return f"{_real_folder(str(path.parent))}/{path.name}"


@lru_cache(maxsize=1000)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
