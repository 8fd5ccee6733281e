"""Splits into training, validation and test frames that never tear a material apart.

Frames of one relaxation or one trajectory are near copies of each other: with some of them
in training and others in validation, the validation error says nothing about new materials.
So whole groups of frames change sides, where the data tells which frames belong together,
or else whole runs of consecutive frames.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from mace_train.data.sampler import permutation
from mace_train.data.split_units import SplitMethod, find_units
from mace_train.data.store import FrameStore

_log = logging.getLogger(__name__)
_SALT = 0x5BD1  # another stream of random numbers than the sampler's with the same seed


@dataclass(frozen=True)
class Split:
    """Places in a store, ascending and without overlap.

    Attributes:
        train: Frames to learn from.
        valid: Frames that choose the best model.
        test: Frames that are looked at only at the end.
        method: How they were told apart.
        warnings: What a user should know about it.
    """

    train: Int[np.ndarray, " train"]
    valid: Int[np.ndarray, " valid"]
    test: Int[np.ndarray, " test"]
    method: str = "random"
    warnings: tuple[str, ...] = field(default=())

    @property
    def subsets(self) -> dict[str, np.ndarray]:
        """The three lists by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def make_split(
    store: FrameStore,
    *,
    method: SplitMethod = "auto",
    group_key: str = "auto",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> Split:
    """Divide the frames of a store; the same arguments give the same split.

    Isolated atoms always stay in training, where E0s come from. A fraction above 0 gives at
    least one frame.

    Args:
        store: The frames.
        method: ``group``: frames with the same value of the group key stay together;
            ``blocks``: runs of consecutive frames do; ``random``: nothing does; ``auto``:
            ``group`` where a key tells, else ``blocks`` where consecutive frames look like
            a trajectory, else ``random``.
        group_key: Name of the key; ``auto``: the first of `GROUP_KEYS` that at least half
            of the frames carry and that several of them share. A key of runs by which
            consecutive frames of a trajectory are mostly told apart is passed over.
        valid_fraction: Part of the frames for validation.
        test_fraction: Part of the frames for the test.
        seed: Of the choice.

    Raises:
        ValueError: If fractions are not in [0, 1) or leave nothing to train on, no frame
            has the group key, or there are fewer groups than subsets.
    """
    _check_fractions(valid_fraction, test_fraction)
    if valid_fraction == test_fraction == 0:
        none = np.zeros(0, np.int64)
        return Split(np.arange(len(store)), none, none, method="none")
    free = np.flatnonzero(~store.isolated)
    if len(free) == 0:
        raise ValueError(
            f"all {len(store)} frames are isolated atoms, which give E0s but cannot be "
            "held out: name the frames to train on too, or set data.valid_fraction=0"
        )
    wanted = 1 + (valid_fraction > 0) + (test_fraction > 0)
    targets = [fraction * len(free) for fraction in (valid_fraction, test_fraction)]
    targets.append(len(free) - sum(targets))
    length = min(round(target) for target in targets if target > 0)
    units, chosen, warnings = find_units(
        store, method, group_key, free=free, wanted=wanted, length=length
    )
    members, sizes = np.unique(units, return_counts=True)
    if len(members) < wanted:
        raise ValueError(
            f"{len(free)} frames in {len(members)} {_UNIT_NAMES[chosen]} cannot be "
            f"divided into {wanted} subsets: set data.valid_fraction=0 or "
            "data.test_fraction=0, choose data.split=blocks or random, or name other data "
            "as data.valid"
        )
    order = permutation(len(members), _SALT, seed)
    test, order = _take(order, sizes, test_fraction * len(free), leave=wanted - 1)
    valid, order = _take(order, sizes, valid_fraction * len(free), leave=1)
    if chosen == "group":
        warnings += _too_large_groups(int(sizes[valid].sum()), targets[0])
    side = np.zeros(len(members), np.int64)
    side[valid], side[test] = 1, 2
    frame_side = np.zeros(len(store), np.int64)
    frame_side[free] = side[np.searchsorted(members, units)]
    parts = [np.flatnonzero(frame_side == number) for number in range(3)]
    for warning in warnings:
        _log.warning(warning)
    return Split(*parts, method=chosen, warnings=tuple(warnings))


def _too_large_groups(held: int, target: float) -> list[str]:
    """A warning where whole groups make far more validation frames than were asked for."""
    if held <= max(2 * target, target + 1):
        return []
    return [
        f"{held} frames validate where data.valid_fraction asks for {target:.0f}, as whole "
        "groups do: data.split=blocks leaves more to train on, but then validation frames "
        "are of groups that are trained on"
    ]


_UNIT_NAMES = {"group": "groups", "blocks": "blocks", "random": "units"}


def _check_fractions(valid_fraction: float, test_fraction: float) -> None:
    for name, value in (("valid", valid_fraction), ("test", test_fraction)):
        if not 0 <= value < 1:
            raise ValueError(f"data.{name}_fraction must be in [0, 1), got {value}")
    if valid_fraction + test_fraction >= 1:
        raise ValueError(
            f"data.valid_fraction={valid_fraction} and data.test_fraction={test_fraction} "
            "leave nothing to train on"
        )


def _take(
    order: np.ndarray, sizes: np.ndarray, target: float, *, leave: int
) -> tuple[np.ndarray, np.ndarray]:
    """Units in shuffled order whose frames come close to a target, and the rest."""
    if target == 0:
        return order[:0], order
    count, may_take = 0, len(order) - leave
    taken = np.zeros(len(order), bool)
    for place, size in enumerate(sizes[order].tolist()):
        if count >= target or may_take == 0:
            break
        if abs(count + size - target) < abs(count - target):
            taken[place] = True
            count += size
            may_take -= 1
    if not taken.any():  # every unit is larger than twice the target: the smallest will do
        taken[np.argmin(sizes[order])] = True
    return order[taken], order[~taken]
