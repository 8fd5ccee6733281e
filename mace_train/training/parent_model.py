"""`Parent`: what training takes over from the model it starts from.

Floor 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mace_train.data.statistics import Statistics
from mace_train.elements import ElementTable


@dataclass(frozen=True)
class Parent:
    """What training takes over from the model it starts from.

    Attributes:
        elements: Its elements; the data may hold no other.
        statistics: Its statistics by head, to be used instead of those of the data; or
            None.
        keeps_all: Whether the trained model keeps all elements, or those of the data alone.
    """

    elements: ElementTable
    statistics: Mapping[str, Statistics] | None = None
    keeps_all: bool = True

    def kept_elements(self, present: set[int]) -> ElementTable:
        """Elements of the model that is trained.

        Args:
            present: Those of all frames, which the parent knows.
        """
        return self.elements if self.keeps_all else ElementTable.containing(present)

    def statistics_of(self, elements: ElementTable) -> dict[str, Statistics]:
        """The statistics for some of its elements, in the order of the heads."""
        assert self.statistics is not None
        return {head: _narrowed(one, elements) for head, one in self.statistics.items()}


def _narrowed(statistics: Statistics, elements: ElementTable) -> Statistics:
    """The same for a smaller table of elements."""
    if statistics.atomic_numbers == elements.atomic_numbers:
        return statistics
    table = ElementTable(statistics.atomic_numbers)
    rows = table.index_of(np.array(elements.atomic_numbers))
    return replace(
        statistics,
        atomic_energies=statistics.atomic_energies[rows],
        determined=statistics.determined[rows],
        atomic_numbers=elements.atomic_numbers,
        atom_counts=statistics.atom_counts[rows],
    )
