"""Splits as JSON that any program can read: ``[file name, frame]`` pairs a subset."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mace_train.data.splits import Split
from mace_train.data.store import FrameStore

_FORMAT = "mace-train split"
_VERSION = 1
_SHOWN = 5
_ROWS = 100_000
_SUBSETS = ("train", "valid", "test")


def write_split(path: Path, split: Split, store: FrameStore) -> None:
    """Write which frame of which file is in which subset; counting from 0.

    Args:
        path: The JSON file; it appears only when complete.
        split: Places in the store.
        store: The frames.
    """
    names, source = store.sources
    index = store.source_indices
    head = {
        "format": _FORMAT,
        "version": _VERSION,
        "method": split.method,
        "num_frames": {name: len(places) for name, places in split.subsets.items()},
    }
    beginnings = [f"[{json.dumps(name)}," for name in names]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(head, separators=(",", ":"))[:-1])
        for subset, places in split.subsets.items():
            file.write(f',"{subset}":[')
            for first in range(0, len(places), _ROWS):
                part = places[first : first + _ROWS]
                pairs = zip(source[part].tolist(), index[part].tolist())
                # Put together by hand: a million pairs take json.dumps seconds.
                file.write("," if first else "")
                file.write(",".join([f"{beginnings[s]}{i}]" for s, i in pairs]))
            file.write("]")
        file.write("}\n")
    temporary.replace(path)


def read_split(
    path: Path, store: FrameStore, *, trained: Int[np.ndarray, " trained"] | None = None
) -> Split:
    """Find the frames that a split file names.

    Frames of the store that it does not name are left out, with a warning in the result.

    Args:
        path: A file that `write_split` wrote.
        store: The frames.
        trained: Places of frames that are trained on, whatever the file says of them.

    Raises:
        ValueError: If the file is no split, names frames that the data does not have, names
            a frame twice, or leaves nothing to train on.
    """
    with _collector_at_rest():
        content = _load(path)
        pairs = [content[name] for name in _SUBSETS]
        every = _Places(store).find([pair for subset in pairs for pair in subset], path)
        ends = np.cumsum([len(subset) for subset in pairs])
        method = str(content.get("method", "file"))
        del content, pairs
    train, valid, test = np.split(every, ends[:-1])
    unique, counts = np.unique(every, return_counts=True)
    if (counts > 1).any():
        twice = store.describe(int(unique[counts > 1][0]))
        raise ValueError(f"{path} names {(counts > 1).sum()} frames twice (first: {twice})")
    if len(train) == 0:
        raise ValueError(f"{path} has no training frames")
    warnings = []
    if trained is not None:
        moved = np.isin(np.concatenate([valid, test]), trained).sum()
        train = np.union1d(train, trained)
        valid, test = np.setdiff1d(valid, trained), np.setdiff1d(test, trained)
        if moved:
            warnings.append(
                f"{moved} frames that {path} has for validation or the test are trained "
                "on: their sets have hold_out=false"
            )
    missing = len(store) - len(train) - len(valid) - len(test)
    if missing:
        warnings.append(
            f"{missing} of {len(store)} frames are in no subset of {path}: not used"
        )
    return Split(np.sort(train), np.sort(valid), np.sort(test), method, tuple(warnings))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"data.split_file: there is no file {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"data.split_file: {path} is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"data.split_file: {path} is no split that mace-train wrote")
    if content.get("version") != _VERSION:
        raise ValueError(
            f"data.split_file: {path} has version {content.get('version')}, this "
            f"mace-train reads version {_VERSION}: update mace-train, or make the split "
            "again"
        )
    for subset in _SUBSETS:
        pairs = content.get(subset)
        wrong = (
            [p for p in pairs if not _is_pair(p)] if isinstance(pairs, list) else [pairs]
        )
        if wrong:
            raise ValueError(
                f"data.split_file: {path} must list {subset} as [file name, frame] pairs, "
                f"but has {wrong[0]!r}"
            )
    return content


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Spare Python the search for cycles among a million new pairs, which takes seconds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _is_pair(pair: object) -> bool:
    match pair:
        case [str(), int()]:
            return True
    return False


class _Places:
    """Finds frames of a store by file name and place in the file."""

    def __init__(self, store: FrameStore) -> None:
        names, source = store.sources
        self._store = store
        self._number_by_name = {name: number for number, name in enumerate(names)}
        self._stride = int(store.source_indices.max()) + 1
        codes = source * self._stride + store.source_indices
        self._order = np.argsort(codes, kind="stable")
        self._codes = codes[self._order]

    def find(self, pairs: Sequence[Sequence[Any]], path: Path) -> np.ndarray:
        """Places in the store, in the order of the pairs."""
        if not pairs:
            return np.zeros(0, np.int64)
        numbers = np.array([self._number_by_name.get(name, -1) for name, _ in pairs])
        index = np.array([index for _, index in pairs], np.int64)
        known = (numbers >= 0) & (index >= 0) & (index < self._stride)
        codes = np.where(known, numbers * self._stride + index, -1)
        left = np.searchsorted(self._codes, codes, side="left")
        count = np.searchsorted(self._codes, codes, side="right") - left
        if (count == 0).any():
            absent = [pairs[place] for place in np.flatnonzero(count == 0)[:_SHOWN]]
            shown = ", ".join(f"{name} frame {index}" for name, index in absent)
            raise ValueError(
                f"{path} names {(count == 0).sum()} frames that the data does not have "
                f"(first: {shown}): name the same files in data.train, with the same "
                "data.max_force"
            )
        if (count > 1).any():
            name, index_there = pairs[int(np.flatnonzero(count > 1)[0])]
            raise ValueError(
                f"{path} names frame {index_there} of {name}, but the data has several "
                "files of that name: prepare them together, so that their names differ"
            )
        return self._order[left]
