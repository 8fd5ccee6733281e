"""Whether a few frames can be learned from at all, said before anything is computed.

Floor 5. Every refusal tells which frames are meant and what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from mace_train.data.frame import Frame
from mace_train.data.mixed_store import MixedStore
from mace_train.training.frame_set import LABEL_NAMES, FrameSet
from mace_train.training.required_labels import weighted_frames

logger = logging.getLogger(__name__)

_FEWEST = 5
_FEW_VALID = 5
_SAME = 1e-6  # Å

_RATTLE = (
    "structures around those you have serve well: frames of a short simulation at the "
    "temperature of interest, or copies whose atoms are moved by some 0.05 Å (ASE's "
    "atoms.rattle) and whose cells are strained by some percent"
)


def check_user_frames(
    train: FrameSet,
    valid: FrameSet,
    *,
    loss_weights: Mapping[str, float] | None = None,
) -> None:
    """Refuse frames that cannot make a better model, with the cure.

    Args:
        train: The user's frames to train on, without isolated atoms and replayed frames.
        valid: Those to validate on.
        loss_weights: Weight of ``energy``, ``forces`` and ``stress``; without a weight of
            the stress, a stress that cannot be is no fault. None: all have one.

    Raises:
        ValueError: If there are fewer than five frames, all are the same, or molecules have
            a stress.
    """
    _require_some(train, valid)
    _require_differences(train, valid)
    if 0 < len(valid) < _FEW_VALID:
        logger.warning(
            "%d validation frames decide which epoch is the best: with so few, chance "
            "does. Give more with data.valid_fraction=0.2, or frames of their own: "
            "data.valid=FILE",
            len(valid),
        )
    if not len(valid):
        logger.warning(
            "without validation frames nothing tells whether the model is better than the "
            "parent: give data.valid=FILE, or data.valid_fraction=0.1"
        )
    if loss_weights is None or loss_weights.get("stress", 0) > 0:
        _require_volumes(train, valid)


def absent_labels(train: FrameSet) -> set[str]:
    """Which of ``energy``, ``forces`` and ``stress`` no training frame has.

    Frames of a set that gives a label no weight are as if they did not have it.
    """
    return {
        name for name in LABEL_NAMES if not weighted_frames(train, name).label_counts[name]
    }


def absent_labels_by_head(train: FrameSet) -> dict[str, set[str]]:
    """The same for the frames of each head, where there are several."""
    store = train.store
    if not isinstance(store, MixedStore) or len(store.heads) == 1:
        return {}
    heads = store.head_of(train.indices)
    return {
        name: absent_labels(train.where(heads == place))
        for place, name in enumerate(store.heads)
    }


def _require_some(train: FrameSet, valid: FrameSet) -> None:
    count = len(train) + len(valid)
    if count >= _FEWEST:
        return
    first = (train if len(train) else valid).first_names()
    raise ValueError(
        f"there are {count} frames ({len(train)} to train on, {len(valid)} to validate; "
        f"{first}; isolated atoms do not count), but fine-tuning takes at least {_FEWEST} "
        f"and does well from about 30 on: compute more; {_RATTLE}"
    )


def _require_differences(train: FrameSet, valid: FrameSet) -> None:
    frames = _frames(train, valid)
    first = next(frames)
    if all(_is_same(first, other) for other in frames):
        name = (train if len(train) else valid).first_names()
        raise ValueError(
            f"all {len(train) + len(valid)} frames are the same structure, to {_SAME:g} Å "
            f"({name}): one structure teaches nothing of forces elsewhere. Give different "
            f"ones; {_RATTLE}"
        )


def _frames(*several: FrameSet) -> Iterator[Frame]:
    for frames in several:
        for place in frames.indices.tolist():
            yield frames.store.frame(place)


def _is_same(first: Frame, second: Frame) -> bool:
    """Whether two frames have the same atoms, in the same order, and the same cell."""
    return (
        np.array_equal(first.atomic_numbers, second.atomic_numbers)
        and np.array_equal(first.pbc, second.pbc)
        and float(np.abs(_centred(first) - _centred(second)).max()) <= _SAME
        and float(np.abs(first.cell - second.cell).max()) <= _SAME
    )


def _centred(frame: Frame) -> np.ndarray:
    """Positions from their mean: a structure is the same wherever it is."""
    return frame.positions - frame.positions.mean(axis=0)


def _require_volumes(train: FrameSet, valid: FrameSet) -> None:
    """Refuse a stress where no frame has a volume; with some, it has been passed over."""
    passed_over = _num_passed_over(train)
    if train.store is not valid.store:
        passed_over += _num_passed_over(valid)
    if not passed_over:
        return
    is_periodic = [one.store.fully_periodic[one.indices] for one in (train, valid)]
    if any(periodic.any() for periodic in is_periodic):
        logger.warning(
            "%d frames have a stress but are not periodic in three directions: it has no "
            "meaning there and is left out",
            passed_over,
        )
        return
    raise ValueError(
        f"{passed_over} frames have a stress, but no frame is periodic in three directions "
        f"({(train if len(train) else valid).first_names()}): a stress needs a volume, and "
        "that of a box around a molecule is arbitrary. Leave it out with "
        'data.stress_key=none; or, if these are crystals, write pbc="T T T" into the file'
    )


def _num_passed_over(frames: FrameSet) -> int:
    """Frames with a stress that was passed over, in the sets that the frames belong to."""
    store = frames.store
    if not isinstance(store, MixedStore):
        return store.census.keys.passed_over
    members = set(store.set_of(frames.indices).tolist())
    return sum(store.parts[number].census.keys.passed_over for number in members)
