"""Statistics of the training frames for each head: E0s, scale and shift are its own.

Floor 4. Heads are levels of theory, whose energies have different zeros; how many neighbors
an atom has is the same for all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from mace_train.data.e0s import read_atomic_energies
from mace_train.data.mixed_store import MixedStore
from mace_train.data.mp0 import MP0_E0S
from mace_train.data.statistics import Statistics, compute_statistics
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable
from mace_train.training.frame_set import FrameSet, name_elements

logger = logging.getLogger(__name__)


def compute_head_statistics(
    store: FrameStore,
    indices: Int[np.ndarray, " frames"],
    *,
    elements: ElementTable,
    r_max: float,
    e0s: Mapping[str, str],
) -> dict[str, Statistics]:
    """Statistics by head, each from its own training frames.

    Of an element that a head never meets it has no E0 either: that is 0 and marked as not
    determined, unless a published list or a file knows it.

    Args:
        store: The frames of all heads.
        indices: Training frames.
        elements: The model's elements.
        r_max: Cutoff in Å.
        e0s: Where the E0s of each head come from.

    Raises:
        ValueError: If a head has no training frames or an element no E0; the message names
            the head where there are several.
    """
    if len(e0s) == 1:
        ((head, source),) = e0s.items()
        only = compute_statistics(
            store, indices, elements=elements, r_max=r_max, e0s=source
        )
        return {head: only}
    assert isinstance(store, MixedStore), "several heads come from several sets"
    statistics: dict[str, Statistics] = {}
    require_trained_heads(store, indices, list(e0s))
    for number, (head, source) in enumerate(e0s.items()):
        own, places = store.of_head(number, indices)
        met = FrameSet(own, places).atomic_numbers
        known = set(elements.atomic_numbers) & (met | _elements_of(source))
        logger.info("head %s: E0s of %s", head, name_elements(known))
        table = ElementTable.containing(known)
        try:
            found = compute_statistics(own, places, elements=table, r_max=r_max, e0s=source)
        except ValueError as error:
            raise ValueError(f"head {head}: {error}") from error
        statistics[head] = _widened(found, elements)
    return statistics


def require_trained_heads(
    store: FrameStore, indices: Int[np.ndarray, " frames"], heads: Sequence[str]
) -> None:
    """Refuse a head without any training frames; one head alone has them all.

    Args:
        store: The frames of all heads.
        indices: Training frames.
        heads: Names, in the model's order.

    Raises:
        ValueError: Names the head.
    """
    if not isinstance(store, MixedStore):
        return
    trained = store.head_of(FrameSet(store, indices).without_isolated_atoms().indices)
    for number, head in enumerate(heads if len(heads) > 1 else ()):
        if not (trained == number).any():
            raise ValueError(
                f"no frame of the head {head} is left to train on: its sets in data.train "
                "hold isolated atoms only, or data.split_file names none of their frames"
            )


def mean_neighbors(statistics: Mapping[str, Statistics]) -> float:
    """All edges over all atoms of all heads, which the model divides by."""
    if len(statistics) == 1:
        return next(iter(statistics.values())).avg_num_neighbors
    num_edges = sum(one.num_edges for one in statistics.values())
    num_atoms = sum(one.num_atoms for one in statistics.values())
    if num_atoms == 0:  # those of a model, which is the same for all its heads
        return next(iter(statistics.values())).avg_num_neighbors
    return num_edges / num_atoms if num_edges else 1.0


def _elements_of(source: str) -> set[int]:
    """Elements whose E0s a source knows without any frames."""
    if source in ("least_squares", "isolated_atoms"):
        return set()
    return set(MP0_E0S if source == "mp0" else read_atomic_energies(Path(source)))


def _widened(statistics: Statistics, elements: ElementTable) -> Statistics:
    """The same for a larger table of elements."""
    columns = elements.index_of(np.array(statistics.atomic_numbers))

    def spread(values: np.ndarray) -> np.ndarray:
        wide = np.zeros(len(elements), values.dtype)
        wide[columns] = values
        return wide

    return replace(
        statistics,
        atomic_energies=spread(statistics.atomic_energies),
        determined=spread(statistics.determined),
        atomic_numbers=elements.atomic_numbers,
        atom_counts=spread(statistics.atom_counts),
    )
