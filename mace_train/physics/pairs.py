"""Which pairs of elements are pressed together: all, or those of equal atoms.

Floor 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mace_train.physics.setting import Pair

MOST_ELEMENTS = 12
"""Up to so many elements, all their pairs are taken unless others are asked for: 78."""


def all_pairs(atomic_numbers: Sequence[int]) -> tuple[Pair, ...]:
    """Every pair of elements once, those of equal atoms included."""
    return tuple(combinations_with_replacement(sorted(set(atomic_numbers)), 2))


def default_pairs(atomic_numbers: Sequence[int]) -> tuple[tuple[Pair, ...], str]:
    """All pairs of few elements; those of equal atoms of many, and a note of that."""
    count = len(set(atomic_numbers))
    if count <= MOST_ELEMENTS:
        return all_pairs(atomic_numbers), ""
    note = (
        f"pairs of equal atoms only, as {count} elements have {count * (count + 1) // 2} "
        "pairs; elements=all, or elements=[Si,O], takes all"
    )
    return tuple((number, number) for number in sorted(set(atomic_numbers))), note
