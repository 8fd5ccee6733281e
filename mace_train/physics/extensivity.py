"""Energies of things that do not touch add up: a supercell of its cells, pieces far apart.

Floor 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mace_train.physics.invariances import largest_of
from mace_train.physics.outcome import Findings, Measurement
from mace_train.physics.potential import LeftOutError
from mace_train.physics.structures import cluster

if TYPE_CHECKING:
    from mace_train.physics.setting import Setting


def check_supercell(setting: Setting) -> Findings:
    """Twice the smallest cell in each periodic direction: energy, forces and stress."""
    atoms, potential = setting.periodic[0], setting.potential
    repeats = np.where(atoms.pbc, 2, 1)
    before = potential.respond(atoms)
    after = potential.respond(atoms.repeat(repeats))
    count = int(repeats.prod())
    forces = np.abs(after.forces - np.tile(before.forces, (count, 1))).max()
    stress = None
    if before.stress is not None and after.stress is not None:
        stress = float(np.abs(after.stress - before.stress).max())
    energy = abs(after.energy / count - before.energy) / len(atoms)
    return Findings(largest_of([(energy, float(forces), stress)], [atoms], setting.limits))


def check_far_pieces(setting: Setting) -> Findings:
    """Two clusters beyond the reach of each other: the energy is the sum of theirs."""
    potential = setting.potential
    reach = potential.receptive_field
    if not setting.distorted:
        raise LeftOutError("it needs a structure")
    pieces = [cluster(atoms) for atoms in (setting.distorted[0], setting.distorted[-1])]
    alone = [potential.energy(piece) for piece in pieces]
    extent = sum(float(np.ptp(piece.positions[:, 0])) for piece in pieces)
    moved = pieces[1].copy()
    moved.positions[:, 0] += extent + 2 * reach
    together = pieces[0] + moved
    energy = abs(potential.energy(together) - sum(alone)) / len(together)
    names = " and ".join(piece.get_chemical_formula() for piece in pieces)
    limit = setting.limits.energy
    return Findings((Measurement("energy", energy, "eV/atom", limit, names),))
