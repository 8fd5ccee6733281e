"""An atom out of reach changes nothing: forces and energies end where the potential says.

Floor 3. The energy of an atom sees ``num_interactions * r_max`` far. A force sees twice as
far, since it is the derivative of the energies of all atoms within that reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mace_train.physics.outcome import Findings, Measurement
from mace_train.physics.structures import bond_length

if TYPE_CHECKING:
    from jaxtyping import Float

    from mace_train.physics.setting import Setting

_MARGIN = 0.1  # Å beyond the reach


def check_locality(setting: Setting) -> Findings:
    """A chain loses its last atom, and gains one beside it that is out of reach."""
    potential, limits = setting.potential, setting.limits
    reach = potential.receptive_field
    chain = _chain(setting, length=2 * reach + 2 * potential.cutoff)
    forces = potential.forces(chain)
    shorter = chain[:-1]
    distances = chain.positions[-1, 0] - chain.positions[:-1, 0]
    change = np.abs(forces[:-1] - potential.forces(shorter)).max(axis=1)
    found = [_largest("force", change, distances, 2 * reach, "eV/Å", limits.locality)]
    if potential.has_node_energies:
        before, after = potential.node_energies(chain), potential.node_energies(shorter)
        change = np.abs(before[:-1] - after)
        found.append(
            _largest("node energy", change, distances, reach, "eV", limits.locality)
        )
    place = chain.positions[len(chain) // 2] + [0, 0, reach + _MARGIN]
    ghost = potential.forces(chain + Atoms(chain.numbers[:1], [place]))
    change = float(np.abs(ghost[:-1] - forces).max())
    where = f"by an atom {reach + _MARGIN:.1f} Å beside a chain"
    found.append(Measurement("force", change, "eV/Å", limits.locality, where))
    return Findings(tuple(found))


def _chain(setting: Setting, *, length: float) -> Atoms:
    """A zigzag of the structures' elements, with neighbors at their covalent distance."""
    numbers = sorted({int(n) for atoms in setting.structures for n in atoms.numbers})[:3]
    step = max(bond_length(first, second) for first in numbers for second in numbers)
    step = min(1.1 * step, 0.8 * setting.potential.cutoff)
    count = int(np.ceil(length / (0.9 * step))) + 1
    x = 0.9 * step * np.arange(count)
    y = 0.4 * step * (np.arange(count) % 2)
    symbols = [numbers[place % len(numbers)] for place in range(count)]
    return Atoms(symbols, np.stack([x, y, 0.1 * y], axis=1))


def _largest(
    quantity: str,
    change: Float[np.ndarray, " nodes"],
    distances: Float[np.ndarray, " nodes"],
    reach: float,
    unit: str,
    limit: float,
) -> Measurement:
    """The largest change among atoms beyond a reach."""
    beyond = distances > reach + _MARGIN
    where = f"by the last atom of a chain, {reach:.1f} Å away or more"
    return Measurement(quantity, float(change[beyond].max()), unit, limit, where)
