"""Which frames change sides together in a split: groups, runs of frames, or single ones."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from jaxtyping import Int

from mace_train.data.labels import GROUP_KEYS, MATERIAL_KEYS
from mace_train.data.store import FrameStore
from mace_train.data.trajectories import looks_like_trajectory

_log = logging.getLogger(__name__)
SplitMethod = Literal["auto", "group", "blocks", "random"]
_NUM_BLOCKS = 50  # of a long run, so that the frames held out are spread over it
_LONG_ENOUGH = 10  # frames, of which few have a neighbor on another side


def find_units(
    store: FrameStore,
    method: SplitMethod,
    group_key: str,
    *,
    free: np.ndarray,
    wanted: int,
    length: int,
) -> tuple[Int[np.ndarray, " free"], str, list[str]]:
    """Number of the unit each free frame belongs to, the method chosen, and warnings.

    Args:
        store: The frames.
        method: As in `make_split`, where the choice of ``auto`` is told.
        group_key: Name of the key of groups, or ``auto``.
        free: Places of the frames to be divided.
        wanted: Number of subsets.
        length: Frames of the smallest subset.

    Raises:
        ValueError: If no frame has the group key that is asked for.
    """
    key, why = None, f"data.split={method}"
    if method in ("auto", "group"):
        key = _find_key(store, group_key, free=free, is_strict=method == "auto")
    if key is None and (method == "group" or (method == "auto" and group_key != "auto")):
        asked = f"any of {', '.join(GROUP_KEYS)}" if group_key == "auto" else group_key
        raise ValueError(
            f"data.split={method}, but no frame has {asked}: name the key with "
            "data.group_key, or choose data.split=blocks or random"
        )
    if key is not None:
        units, warnings = _group_units(store, key, free)
        num_groups = len(np.unique(units))
        if method == "group" or num_groups >= wanted:
            _log.info("split by groups: frames of one %s stay together", key)
            return units, "group", warnings
        warnings.append(
            f"all frames belong to {num_groups} {key}, so whole {key}s cannot "
            "be held out: blocks of consecutive frames are, which are near copies of "
            "training frames"
        )
        return _block_units(store, free, length), "blocks", warnings
    is_trajectory = method != "blocks" and looks_like_trajectory(store, free)
    if is_trajectory and method == "auto":
        why = (
            "consecutive frames look like one trajectory, and no key tells several apart "
            "(data.group_key=NAME if frames carry the name of their run)"
        )
    if method == "blocks" or (is_trajectory and method == "auto"):
        _log.info("split by blocks of consecutive frames: %s", why)
        return _block_units(store, free, length), "blocks", []
    warnings = []
    if is_trajectory:
        warnings.append(
            "consecutive frames look like one trajectory: frames of a random split are "
            "near copies of training frames, and validation errors too small. Choose "
            "data.split=blocks, or data.group_key=NAME if frames carry the name of their "
            "run"
        )
    elif method == "auto":
        why = "no key groups frames, and consecutive frames do not follow each other"
    _log.info("split by single frames at random: %s", why)
    return np.arange(len(free)), "random", warnings


def _find_key(
    store: FrameStore, group_key: str, *, free: np.ndarray, is_strict: bool
) -> str | None:
    """The key that tells which frames belong together.

    Args:
        store: The frames.
        group_key: As the user gave it; ``auto`` looks at all known ones.
        free: Frames to be divided.
        is_strict: Whether a known key has to be of use; else the first one will do.
    """
    if group_key != "auto":
        return group_key if group_key in store.group_keys else None
    there = [name for name in GROUP_KEYS if name in store.group_keys]
    if is_strict:
        there = [name for name in there if _tells_groups(store, name, free)]
    return there[0] if there else None


def _tells_groups(store: FrameStore, key: str, free: np.ndarray) -> bool:
    """Whether most frames carry a key, some of them share it, and trajectories stay whole.

    A number of the frame under such a name would tear every trajectory apart.
    """
    numbers = store.group_numbers(key)[1][free]
    named = numbers[numbers >= 0]
    if len(named) < len(free) / 2 or len(np.unique(named)) == len(named):
        return False
    changes = np.mean(numbers[1:] != numbers[:-1])
    if key in MATERIAL_KEYS or changes < 0.5 or not looks_like_trajectory(store, free):
        return True
    _log.warning(
        "data.group_key=auto passes over %s, which changes from frame to frame while "
        "consecutive frames look like one trajectory; data.group_key=%s takes it",
        key,
        key,
    )
    return False


def _group_units(
    store: FrameStore, key: str, free: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Groups are numbered in alphabetic order; a frame without one is a group by itself."""
    names, numbers = store.group_numbers(key)
    numbers = numbers[free]
    alone = numbers < 0
    if "" in names:  # which comes first in alphabetic order
        alone |= numbers == 0
    numbers[alone] = len(names) + np.arange(alone.sum())
    warnings = []
    if alone.any():
        warnings.append(
            f"{alone.sum()} of {len(free)} frames have no {key}: each goes to its side "
            "alone"
        )
    return numbers, warnings


def _block_units(store: FrameStore, free: np.ndarray, length: int) -> np.ndarray:
    """Runs of consecutive frames, none across two files, of nearly equal length in each.

    Args:
        store: The frames.
        free: Those to be divided.
        length: Frames of the smallest subset: of fewer than ten it is one run, and of more
            a few, which long runs make longer than ten.
    """
    length = max(1, -(-len(free) // _NUM_BLOCKS), min(length, _LONG_ENOUGH))
    source = store.sources[1][free]
    starts = np.flatnonzero(np.concatenate([[True], source[1:] != source[:-1]]))
    units, first = [], 0
    for size in np.diff(starts, append=len(free)).tolist():
        count = max(1, round(size / length))
        units.append(first + np.arange(size) * count // size)
        first += count
    return np.concatenate(units)
