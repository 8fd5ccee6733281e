"""`Setting`: what all checks are given: potential, structures, limits, pairs of elements.

Floor 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mace_train.physics.limits import Limits
from mace_train.physics.potential import LeftOutError, Potential
from mace_train.physics.structures import distorted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

Pair = tuple[int, int]


def _say_nothing(text: str) -> None:
    del text


@dataclass(frozen=True)
class Setting:
    """What a check works on.

    Attributes:
        potential: What is checked.
        structures: As they were given; a few small ones.
        limits: The largest errors that are right.
        pairs: Atomic numbers of the dimers.
        pairs_note: What has to be said of their choice.
        are_built: Whether the structures were made up, since none was given.
        nve_steps: Steps of molecular dynamics.
        temperature: At which that begins, K.
        tell: Is told what is being computed, by checks that take long.
    """

    potential: Potential
    structures: tuple[Atoms, ...]
    limits: Limits
    pairs: tuple[Pair, ...] = ()
    pairs_note: str = ""
    are_built: bool = False
    nve_steps: int = 200
    temperature: float = 300.0
    tell: Callable[[str], None] = _say_nothing

    @cached_property
    def distorted(self) -> tuple[Atoms, ...]:
        """The structures, each without symmetry."""
        return tuple(distorted(atoms, seed=n) for n, atoms in enumerate(self.structures))

    @property
    def several_atoms(self) -> tuple[Atoms, ...]:
        """Distorted structures of more than one atom.

        Raises:
            LeftOutError: If there is none.
        """
        found = tuple(atoms for atoms in self.distorted if len(atoms) > 1)
        if not found:
            raise LeftOutError("it needs a structure of more than one atom")
        return found

    @property
    def periodic(self) -> tuple[Atoms, ...]:
        """Distorted structures with at least one periodic direction, the smallest first.

        Raises:
            LeftOutError: If there is none.
        """
        found = sorted((atoms for atoms in self.distorted if atoms.pbc.any()), key=len)
        if not found:
            raise LeftOutError("it needs a structure with a periodic direction")
        return tuple(found)

    @property
    def crystals(self) -> tuple[Atoms, ...]:
        """Structures as given that are periodic in three directions, the smallest first.

        Raises:
            LeftOutError: If there is none.
        """
        return smallest_crystals(self.structures)


def smallest_crystals(structures: Sequence[Atoms]) -> tuple[Atoms, ...]:
    """Those periodic in three directions, the smallest first.

    Raises:
        LeftOutError: If there is none.
    """
    found = sorted((atoms for atoms in structures if atoms.pbc.all()), key=len)
    if not found:
        raise LeftOutError("it needs a structure that is periodic in three directions")
    return tuple(found)
