"""Several sets of frames as one store: opened together and split one by one.

Floor 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from mace_train.data.mixed_store import ONLY_SET, MixedStore
from mace_train.data.splits import Split
from mace_train.training.data_sets import SPLIT_NAMES, DataSet

if TYPE_CHECKING:
    from mace_train.data.store import FrameStore


def open_sets(
    sets: Sequence[DataSet],
    *,
    heads: Sequence[str],
    open_one: Callable[[DataSet], FrameStore],
) -> FrameStore:
    """The frames of sets as one store; of one set without a role, its own.

    Args:
        sets: At least one.
        heads: Of the model.
        open_one: Opens the files of a set.

    Raises:
        ValueError: If a file belongs to two sets, or a set cannot be opened.
    """
    parts = [_open_named(one, open_one, is_only=len(sets) == 1) for one in sets]
    roles = [one.role(heads) for one in sets]
    if len(heads) == 1 and roles == [ONLY_SET] and sets[0].hold_out:
        return parts[0]
    set_by_sha256: dict[str, str] = {}
    for one, part in zip(sets, parts):
        files = {
            source["sha256"]: source["name"]
            for shard in part.shards
            for source in shard.sources
        }
        for sha256 in sorted(files.keys() & set_by_sha256.keys(), key=files.__getitem__):
            raise ValueError(
                f"{files[sha256]} is in the sets {set_by_sha256[sha256]} and {one.name}: "
                "its frames would count twice, and could be on both sides of a split. Name "
                "it in one set, and let weight say how much it counts"
            )
        set_by_sha256 |= dict.fromkeys(files, one.name)
    names = [one.name for one in sets]
    return MixedStore(parts, names=names, roles=roles, heads=heads)


def _open_named(
    one: DataSet, open_one: Callable[[DataSet], FrameStore], *, is_only: bool
) -> FrameStore:
    """The frames of a set; what is wrong with them is said with its name."""
    try:
        return open_one(one)
    except ValueError as error:
        if is_only:
            raise
        raise ValueError(
            f"the set {one.name}: {error}\nFor this set alone, write what is said of "
            "data.*_key or data.units into the set, as in "
            f"'[{{path: {one.path}, energy_key: NAME, units: {{energy: eV, length: "
            "angstrom}}]'"
        ) from error


def trained_places(
    store: FrameStore, hold_out: Sequence[bool]
) -> Int[np.ndarray, " trained"]:
    """Places of all frames of the sets that may not be split: they are trained on.

    Args:
        store: What `open_sets` gave.
        hold_out: For each set, whether it may be split.
    """
    if not isinstance(store, MixedStore):
        return np.zeros(0, np.int64)
    return np.flatnonzero(~np.repeat(hold_out, store.set_sizes))


def split_sets(
    store: MixedStore,
    split_one: Callable[[FrameStore], Split],
    *,
    hold_out: Sequence[bool] = (),
) -> Split:
    """Split each set by itself, and join the parts.

    A set of nothing but isolated atoms goes to the training frames, for its E0s.

    Args:
        store: The sets.
        split_one: Splits the frames of one set.
        hold_out: For each set, whether it may be split; else all its frames are trained
            on. Empty: all may.

    Raises:
        ValueError: If a set cannot be split; the message names it.
    """
    splits: list[Split] = []
    may_split = hold_out or [True] * len(store.parts)
    for name, part, may in zip(store.names, store.parts, may_split):
        if part.isolated.all() or not may:
            none = np.zeros(0, np.int64)
            splits.append(Split(np.arange(len(part)), none, none, method="none"))
            continue
        try:
            splits.append(split_one(part))
        except ValueError as error:
            raise ValueError(f"the set {name} of data.train: {error}") from error
    first = np.cumsum([0, *store.set_sizes])
    places: Mapping[str, np.ndarray] = {
        side: np.concatenate([s.subsets[side] + at for s, at in zip(splits, first)])
        for side in SPLIT_NAMES
    }
    return Split(
        **places,
        method=" + ".join(dict.fromkeys(split.method for split in splits)),
        warnings=tuple(warning for split in splits for warning in split.warnings),
    )
