"""What a run says of its data before it starts: labels, sizes of sets and splits, E0s.

Floor 4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mace_train.data.mixed_store import MixedStore, count_by_set
from mace_train.data.statistics import Statistics
from mace_train.training.head_statistics import mean_neighbors

if TYPE_CHECKING:
    from mace_train.data.store import FrameStore
    from mace_train.training.data_sets import SplitName
    from mace_train.training.frame_set import FrameSet

logger = logging.getLogger(__name__)


def log_labels(store: FrameStore) -> None:
    """Say which labels the frames have, and what each set is to the model."""
    if not isinstance(store, MixedStore):
        logger.info("labels: %s", store.census.summary())
        return
    for name, role, part in zip(store.names, store.roles, store.parts):
        logger.info(
            "set %s: head %s, weights of energy, forces and stress %g, %g, %g; labels: %s",
            name,
            store.heads[role.head],
            *role.weights,
            part.census.summary(),
        )


def log_frames(sets: Mapping[SplitName, FrameSet], *, num_isolated: int) -> None:
    """Say how many frames and labels each split has.

    Args:
        sets: By split.
        num_isolated: Frames of isolated atoms, which are in none of them.
    """
    for name, frames in sets.items():
        if not len(frames):
            continue
        counts = frames.label_counts.items()
        labels = ", ".join(f"{label} {count}/{len(frames)}" for label, count in counts)
        num_atoms = int(frames.store.num_atoms[frames.indices].sum())
        logger.info("%s: %d frames, %d atoms; %s", name, len(frames), num_atoms, labels)
        if isinstance(frames.store, MixedStore):
            sizes = count_by_set(frames.store, frames.indices)
            parts = [f"{size} of {one}" for one, size in zip(frames.store.names, sizes)]
            logger.info("%s: %s", name, ", ".join(parts))
    if num_isolated:
        logger.info("%d frames of isolated atoms give E0s and nothing else", num_isolated)
    if not len(sets["valid"]):
        logger.warning(
            "there are no validation frames: the lowest training loss tells the best epoch"
        )


def log_statistics(statistics: Mapping[str, Statistics]) -> None:
    """Say what the model takes from the training frames of each head."""
    are_several = len(statistics) > 1
    for head, one in statistics.items():
        logger.info(
            "%s%s\navg_num_neighbors %.4f, scale %.6f eV/Å, shift %.6f eV/atom",
            f"head {head}\n" if are_several else "",
            (_of_known_elements(one) if are_several else one).table(),
            mean_neighbors(statistics),
            one.scale,
            one.shift,
        )


def _of_known_elements(statistics: Statistics) -> Statistics:
    """Without elements that a head neither has met nor has an E0 of."""
    known = statistics.determined | (statistics.atom_counts > 0)
    numbers = [z for z, is_known in zip(statistics.atomic_numbers, known) if is_known]
    return replace(
        statistics,
        atomic_energies=statistics.atomic_energies[known],
        determined=statistics.determined[known],
        atomic_numbers=tuple(numbers),
        atom_counts=statistics.atom_counts[known],
    )


def warn_of_files_in_both(train: FrameStore, own: FrameStore, *, name: str) -> None:
    """Say which files are trained on and held out too."""
    trained = set(train.checksums.values())
    both = [file for file, sha256 in own.checksums.items() if sha256 in trained]
    if both:
        logger.warning(
            "%s is in data.train and in data.%s: errors on frames that were trained on "
            "tell nothing of others",
            ", ".join(both),
            name,
        )
