"""The chemical elements a model knows, and their places in its tables.

Floor 0: numpy and ase only. Every table of the model that has an element axis (E0s,
embeddings, contraction weights) is ordered as `ElementTable.atomic_numbers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MP0_ATOMIC_NUMBERS: tuple[int, ...] = (*range(1, 84), *range(89, 95))
"""The 89 elements of MPtrj and MACE-MP-0 (arXiv:2401.00096): 1-83 and 89-94."""


@dataclass(frozen=True)
class ElementTable:
    """Atomic numbers of a model in ascending order.

    Args:
        atomic_numbers: Ascending, without repetition, each in 1..118.

    Raises:
        ValueError: If the numbers are not ascending, unique and in range.

    >>> table = ElementTable((1, 8, 14))
    >>> table.index_of([8, 1, 1])
    array([1, 0, 0])
    >>> table.symbols
    ('H', 'O', 'Si')
    """

    atomic_numbers: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = self.atomic_numbers
        if not numbers:
            raise ValueError("an element table needs at least one element")
        if list(numbers) != sorted(set(numbers)) or numbers[0] < 1 or numbers[-1] > 118:
            raise ValueError(
                f"atomic numbers must be ascending, unique and in 1..118, got {numbers}"
            )

    @classmethod
    def containing(cls, atomic_numbers: Iterable[int]) -> ElementTable:
        """The smallest table that holds all the given atomic numbers."""
        return cls(tuple(sorted({int(number) for number in atomic_numbers})))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols in table order."""
        return tuple(chemical_symbols[number] for number in self.atomic_numbers)

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    def index_of(self, atomic_numbers: Iterable[int]) -> NDArray[np.int64]:
        """Places of the given atomic numbers in the table.

        Args:
            atomic_numbers: One number per atom, 1..118.

        Raises:
            ValueError: If an element is not in the table; the message names the elements.
        """
        numbers = np.asarray(atomic_numbers, dtype=np.int64)
        lookup = np.full(119, -1, dtype=np.int64)
        lookup[list(self.atomic_numbers)] = np.arange(len(self))
        index = lookup[numbers]
        if index.size and index.min() < 0:
            unknown = sorted({int(number) for number in numbers[index < 0]})
            names = ", ".join(chemical_symbols[number] for number in unknown)
            raise ValueError(
                f"element {names} is not known to the model, which has "
                f"{len(self)} elements: {' '.join(self.symbols)}"
            )
        return index
