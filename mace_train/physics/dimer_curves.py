"""Energy and force of two atoms along their distance, for many pairs of elements at once.

Floor 3. A dimer costs a calculator mostly its fixed time, so that dimers are put into one
structure, out of each other's reach. That needs a cutoff and energies of atoms; without
them each dimer is a structure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from jaxtyping import Float

if TYPE_CHECKING:
    from collections.abc import Callable

    from mace_train.physics.potential import Potential
    from mace_train.physics.setting import Pair

_DIMERS_TOGETHER = 512
_SAME = 1e-3  # eV, or relative: a dimer alone and among others
_MARGIN = 0.5  # Å beyond the cutoff


@dataclass(frozen=True)
class DimerCurve:
    """One pair of elements.

    Attributes:
        pair: Atomic numbers.
        distances: Ascending, Å.
        energies: eV.
        forces: Along the bond, positive if the atoms repel each other, eV/Å.
    """

    pair: Pair
    distances: Float[np.ndarray, " points"]
    energies: Float[np.ndarray, " points"]
    forces: Float[np.ndarray, " points"]

    @property
    def name(self) -> str:
        """E.g. ``Si-O``."""
        return pair_name(self.pair)


def pair_name(pair: Pair) -> str:
    """E.g. ``Si-O``."""
    return "-".join(chemical_symbols[number] for number in pair)


def dimer_curves(
    potential: Potential,
    pairs: Sequence[Pair],
    distances: Float[np.ndarray, " points"],
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> list[DimerCurve]:
    """Energies and forces of dimers.

    Args:
        potential: Gives them.
        pairs: Elements.
        distances: Ascending, Å.
        tell: Is told how far it is.
    """
    dimers = [(pair, float(distance)) for pair in pairs for distance in distances]
    together = _DIMERS_TOGETHER if _can_stand_together(potential, dimers) else 1
    found: list[tuple[float, float]] = []
    for first in range(0, len(dimers), together):
        tell(f"dimers: pair {first // len(distances) + 1} of {len(pairs)}")
        found += _respond(potential, dimers[first : first + together])
    values = np.array(found).reshape(len(pairs), len(distances), 2)
    return [
        DimerCurve(pair, distances, value[:, 0], value[:, 1])
        for pair, value in zip(pairs, values)
    ]


def _can_stand_together(potential: Potential, dimers: list[tuple[Pair, float]]) -> bool:
    """Whether dimers have the same energy among others as alone."""
    if potential.r_max is None or not potential.has_node_energies or len(dimers) < 2:
        return False
    some = [dimers[0], dimers[-1], dimers[len(dimers) // 2]]
    alone = [_respond(potential, [dimer])[0][0] for dimer in some]
    among = [energy for energy, _ in _respond(potential, some)]
    scale = np.maximum(1.0, np.abs(alone))
    return bool((np.abs(np.subtract(alone, among)) < _SAME * scale).all())


def _respond(
    potential: Potential, dimers: Sequence[tuple[Pair, float]]
) -> list[tuple[float, float]]:
    """Energy and force of each dimer, computed as one structure."""
    numbers = np.array([pair for pair, _ in dimers])
    lengths = np.array([distance for _, distance in dimers])
    apart = (potential.r_max or 0.0) + _MARGIN + np.array([lengths.max(), 0.0, 0.0])
    side = int(np.ceil(len(dimers) ** (1 / 3)))
    places = np.stack(np.unravel_index(np.arange(len(dimers)), (side,) * 3), axis=1) * apart
    positions = np.repeat(places[:, None], 2, axis=1)
    positions[:, 1, 0] += lengths
    atoms = Atoms(numbers.ravel(), positions.reshape(-1, 3))
    forces = potential.forces(atoms).reshape(-1, 2, 3)[:, 1, 0]
    if len(dimers) == 1:
        energies = np.array([potential.energy(atoms)])
    else:
        energies = potential.node_energies(atoms).reshape(-1, 2).sum(axis=1)
    return list(zip(energies.tolist(), forces.tolist()))
