"""`Potential`: what the checks ask of an ASE calculator, whoever wrote it.

Floor 3. Nothing here knows MACE: what a check needs beyond ASE, such as r_max, is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Float

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Dtype = Literal["float32", "float64"]


class LeftOutError(Exception):
    """A check that cannot be made here; the message says why."""


@dataclass(frozen=True)
class Response:
    """What a potential says of one structure.

    Attributes:
        energy: eV.
        forces: eV/Å.
        stress: eV/Å^3, positive in tension; None where the structure is not periodic in
            three directions, or the calculator has no stress.
    """

    energy: float
    forces: Float[np.ndarray, "nodes 3"]
    stress: Float[np.ndarray, "3 3"] | None


@dataclass(frozen=True)
class Potential:
    """An ASE calculator, and what it does not say of itself.

    Attributes:
        calculator: Gives energy and forces, and perhaps stress and the energies of atoms.
        r_max: Cutoff radius, Å; None: not known, or there is none.
        num_interactions: Layers of message passing; None: not known.
        dtype: How it computes. Steps of finite differences depend on it.
    """

    calculator: Calculator
    r_max: float | None = None
    num_interactions: int | None = None
    dtype: Dtype = "float64"

    def __post_init__(self) -> None:
        if self.r_max is not None and not self.r_max > 0:
            raise ValueError(f"r_max={self.r_max} is not allowed: a cutoff is positive, Å")

    @property
    def receptive_field(self) -> float:
        """How far the energy of an atom sees, Å: ``num_interactions * r_max``.

        Raises:
            LeftOutError: If one of both is not known.
        """
        if self.num_interactions is None:
            raise LeftOutError(
                "num_interactions is not known; give num_interactions=1, or the layers of "
                "message passing"
            )
        return self.num_interactions * self.cutoff

    @property
    def cutoff(self) -> float:
        """The cutoff radius, Å.

        Raises:
            LeftOutError: If it is not known.
        """
        if self.r_max is None:
            raise LeftOutError("the cutoff is not known; give r_max=6.0 (Å)")
        return self.r_max

    @property
    def has_node_energies(self) -> bool:
        """Whether the calculator tells the energy of each atom."""
        return "energies" in getattr(self.calculator, "implemented_properties", [])

    def energy(self, atoms: Atoms) -> float:
        """Energy of a structure, eV."""
        return float(self._ask("energy", atoms))

    def forces(self, atoms: Atoms) -> Float[np.ndarray, "nodes 3"]:
        """Forces on the atoms, eV/Å."""
        return np.asarray(self._ask("forces", atoms), dtype=np.float64)

    def node_energies(self, atoms: Atoms) -> Float[np.ndarray, " nodes"]:
        """Energies of the atoms, eV; only if `has_node_energies`."""
        return np.asarray(self._ask("energies", atoms), dtype=np.float64)

    def stress(self, atoms: Atoms) -> Float[np.ndarray, "3 3"] | None:
        """Stress, eV/Å^3; None where there is none."""
        if not atoms.pbc.all():
            return None
        try:
            stress = np.asarray(self._ask("stress", atoms), dtype=np.float64)
        except PropertyNotImplementedError:
            return None
        return stress if stress.shape == (3, 3) else voigt_6_to_full_3x3_stress(stress)

    def respond(self, atoms: Atoms) -> Response:
        """Energy, forces, and the stress where there is one."""
        stress = self.stress(atoms)  # first: most calculators then have the rest too
        return Response(self.energy(atoms), self.forces(atoms), stress)

    def _ask(self, name: str, atoms: Atoms) -> np.ndarray | float:
        value = self.calculator.get_property(name, atoms)
        if value is None:
            kind = type(self.calculator).__name__
            raise ValueError(f"{kind} gives no {name} for {atoms.get_chemical_formula()}")
        return value
