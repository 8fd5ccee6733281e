"""`open_store`: frames from whatever the user named, prepared on first use.

Prepared shards lie in a folder of the cache named by a fingerprint of the files, the
settings and the reading code, so that a changed file, key or program never meets stale
shards.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mace_train.data.file_kinds import is_shard
from mace_train.data.fingerprint import fingerprint
from mace_train.data.labels import GROUP_KEYS, KNOWN_KEYS, LabelKeys, Property
from mace_train.data.prepare import PrepareReport, prepare_shards
from mace_train.data.problems import BadFrames
from mace_train.data.refused import RefusedFramesError, check_accepted
from mace_train.data.shards import Shard
from mace_train.data.sources import expand_sources
from mace_train.data.store import FrameStore

try:
    import fcntl
except ImportError:  # Windows has no such locks; shards are renamed into place anyway
    fcntl = None

_log = logging.getLogger(__name__)
_COMPLETE = "complete.json"


def open_store(
    spec: str | Path | Sequence[str | Path],
    *,
    keys: LabelKeys,
    group_key: str = "auto",
    max_force: float | None = None,
    r_max: float | Sequence[float],
    cache_dir: Path | None = None,
    workers: int = 1,
    bad_frames: BadFrames = "refuse",
    progress: Callable[[int, int | None], None] | None = None,
) -> FrameStore:
    """Open frames for training or evaluation.

    Shards are used as they are. Other files are prepared into the cache, once for all
    processes that ask at the same time.

    Args:
        spec: A file, a folder, a glob or a list of these; ``sample`` is the bundled sample.
        keys: Names and units of the labels.
        group_key: Info key whose frames belong together, or ``auto``.
        max_force: Frames with a larger force, in eV/Å, are left out and counted.
        r_max: Cutoff or cutoffs in Å for which edges are counted.
        cache_dir: Folder of prepared shards; None: ``$XDG_CACHE_HOME/mace-train``.
        workers: Processes that prepare.
        bad_frames: ``leave_out`` opens files without the frames that cannot be used.
        progress: Called with frames done and in all while preparing.

    Raises:
        ValueError: If files are missing or unfit, or shards were prepared with other
            settings, or of data with refused frames that nobody accepted.
    """
    paths = expand_sources(spec)
    shards = [Shard(path) for path in paths if is_shard(path)]
    files = [path for path in paths if not is_shard(path)]
    if shards:
        check_accepted(shards)
        _check_settings(shards, keys, group_key=group_key, max_force=max_force)
    if files:
        several = [r_max] if isinstance(r_max, (int, float)) else r_max
        cutoffs = sorted(float(cutoff) for cutoff in several)
        settings = {"keys": keys.to_dict(), "group_key": group_key, "max_force": max_force}
        if bad_frames != "refuse":  # these shards must not be met by who did not ask
            settings["bad_frames"] = bad_frames
        folder = _cache_root(cache_dir) / fingerprint(files, {**settings, "r_max": cutoffs})
        prepare = partial(
            prepare_shards,
            files,
            folder,
            keys=keys,
            group_key=group_key,
            max_force=max_force,
            r_max=cutoffs,
            workers=workers,
            bad_frames=bad_frames,
            progress=progress,
        )
        shards += [Shard(path) for path in _cached_shards(folder, prepare)]
    return FrameStore(shards)


def _cache_root(cache_dir: Path | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mace-train"


def _cached_shards(folder: Path, prepare: Callable[[], PrepareReport]) -> list[Path]:
    """The shards of a cache folder, prepared if they are not complete."""
    shards = _complete_shards(folder)
    if shards is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot write prepared shards to {folder} ({error}): set data.cache_dir"
            ) from error
        with exclusive_lock(folder / "lock"):
            shards = _complete_shards(folder)  # perhaps made meanwhile by another process
            if shards is None:
                shards = _prepared(prepare)
                temporary = folder / f".{_COMPLETE}.{os.getpid()}"
                temporary.write_text(json.dumps([path.name for path in shards]))
                temporary.replace(folder / _COMPLETE)
    return shards


def _prepared(prepare: Callable[[], PrepareReport]) -> list[Path]:
    """The shards that a preparation writes into the cache.

    Raises:
        ValueError: If any frame cannot be used; then no shards stay.
    """
    try:
        return prepare().shards
    except RefusedFramesError as error:
        for path in error.listing.parent.glob("*.h5"):
            path.unlink()
        raise ValueError(
            f"{error}\nAll are listed in {error.listing}. To train without them: "
            "mace-prepare data.train=... output=FOLDER bad_frames=leave_out, then "
            "data.train=FOLDER"
        ) from error


def _complete_shards(folder: Path) -> list[Path] | None:
    """The shards of a finished preparation, or None where some are missing."""
    note = folder / _COMPLETE
    if not note.exists():
        return None
    shards = [folder / name for name in json.loads(note.read_text())]
    return shards if all(path.exists() for path in shards) else None


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when this process ends, however it ends."""
    with path.open("a") as file:
        try:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    _log.info("waiting for the process that prepares %s", path.parent)
                    fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems; then work may be done twice
            _log.info("no lock on %s (%s)", path, error)
        yield


def _check_settings(
    shards: Sequence[Shard], keys: LabelKeys, *, group_key: str, max_force: float | None
) -> None:
    """Refuse settings that only the preparation of the shards could have followed."""
    asked = {
        **keys.explicit(),
        **{f"{name}_key": "none" for name in KNOWN_KEYS if getattr(keys, name) == "none"},
        "group_key": None if group_key in ("auto", *GROUP_KEYS) else group_key,
        "max_force": max_force,
        "units.energy": None if keys.energy_unit == "eV" else keys.energy_unit,
        "units.length": None if keys.length_unit == "angstrom" else keys.length_unit,
    }
    for shard in shards:
        was = shard.header.settings
        had = {
            **{f"{name}_key": _key_used(shard, name) for name in KNOWN_KEYS},
            "virials_key": was["keys"]["virials"],
            "group_key": was["group_key"],
            "max_force": was["max_force"],
            "units.energy": was["keys"]["energy_unit"],
            "units.length": was["keys"]["length_unit"],
        }
        for name, value in asked.items():
            if value is not None and value != had[name]:
                raise ValueError(
                    f"data.{name}={value}, but shard {shard.path} was prepared with "
                    f"{had[name]}: leave it out, or run mace-prepare with it"
                )


def _key_used(shard: Shard, name: Property) -> str:
    """The key that gave a label, even where the user left the choice to us."""
    asked = shard.header.settings["keys"][name]
    used = list(shard.census.keys.used[name])
    return (used or ["none"])[0] if asked == "auto" else asked
