"""`Frame`: one structure with its labels, as every part of `data/` passes it on.

Units are eV and Å, names are ours, and all checks are behind: whoever holds a frame trusts
it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure and its reference values; a label that is absent is None, its weight 0.

    Attributes:
        atomic_numbers: 1..118.
        positions: Å.
        cell: Lattice vectors in rows, Å; zeros where there is none.
        pbc: Which lattice vectors are periodic.
        energy: eV, with the atoms' own energies.
        forces: eV/Å.
        stress: eV/Å^3, positive in tension; only in frames periodic in three directions.
        energy_weight: Weight of the energy in the loss (``config_energy_weight``).
        forces_weight: Weight of the forces.
        stress_weight: Weight of the stress (``config_stress_weight``, or
            ``config_virials_weight`` where virials are read).
        frame_weight: Multiplies all terms of the frame in the loss (``config_weight``).
        groups: Value of each group key the frame carries, such as ``mp_id``: frames of one
            group never come on both sides of a split.
        config_type: The frame's class, for tables of errors; None where it has none.
        is_isolated_atom: One atom that feels no other: its energy is an E0.
        source: The file it was read from.
        index: Its place in that file, from 0.
    """

    atomic_numbers: Int[np.ndarray, " nodes"]
    positions: Float[np.ndarray, "nodes 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    energy: float | None = None
    forces: Float[np.ndarray, "nodes 3"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    energy_weight: float = 0.0
    forces_weight: float = 0.0
    stress_weight: float = 0.0
    frame_weight: float = 1.0
    groups: dict[str, str] = field(default_factory=dict)
    config_type: str | None = None
    is_isolated_atom: bool = False
    source: str = ""
    index: int = 0

    @property
    def num_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_numbers)

    @property
    def formula(self) -> str:
        """Chemical formula with ascending atomic numbers, such as ``Li4O2``."""
        return formula_of(self.atomic_numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell in Å^3; 0 where the lattice vectors do not span space."""
        return volume_of(self.cell)


def formula_of(atomic_numbers: np.ndarray) -> str:
    """Chemical formula with ascending atomic numbers.

    >>> formula_of(np.array([8, 3, 3]))
    'Li2O'
    """
    counts = sorted(Counter(np.asarray(atomic_numbers).tolist()).items())
    # A message about a number that is no element shows the number.
    symbols = [chemical_symbols[z] if 0 <= z < 119 else f"({z})" for z, _ in counts]
    return "".join(s + (str(n) if n > 1 else "") for s, (_, n) in zip(symbols, counts))


def volume_of(cell: Float[np.ndarray, "3 3"]) -> float:
    """Volume of a cell with lattice vectors in rows, in the cube of its unit.

    Written out, which takes a tenth of the time of a call for the determinant.
    """
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def inverse_of(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Inverse of a cell that spans space: ``positions @ inverse`` are fractional.

    Written out for speed, as `volume_of` is.
    """
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    A, B, C = e * i - f * h, f * g - d * i, d * h - e * g
    determinant = a * A + b * B + c * C
    adjugate = [
        [A, c * h - b * i, b * f - c * e],
        [B, a * i - c * g, c * d - a * f],
        [C, b * g - a * h, a * e - b * d],
    ]
    return np.array(adjugate) / determinant
