"""`MACECalculator`: a model, or a committee of them, as an ASE calculator.

Floor 3, beside training and without it: neither Lightning nor HDF5 is loaded.
`given_models` finds and loads the models, `Committee` asks them, and `DispersionD3` adds
what they lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from jaxtyping import Float

from mace_train.checkpoints.given_models import Model, given_models
from mace_train.committee import Committee
from mace_train.dispersion import DispersionD3
from mace_train.model.backends import Backend
from mace_train.model.mace import MACE

if TYPE_CHECKING:
    from ase import Atoms
    from ase.outputs import Properties

    from mace_train.elements import ElementTable

_NO_VOLUME = 1e-6  # Å^3


class MACECalculator(Calculator):
    """Energy, forces and stress of a MACE model, in ASE's units (eV, Å).

    Energies include the atoms' own (E0s); ``energies`` are those of the nodes and sum to
    ``energy`` (without dispersion). ``stress`` is in Voigt order, positive in tension, over
    the volume of the cell as it is; it exists where something is periodic and the cell has
    a volume. A committee gives means, and in ``results`` also ``energy_std``,
    ``forces_std`` and ``stress_std``, standard deviations of the population.

    Args:
        model: A file that `load_model` reads, or a model; a model that is given is used as
            it is, or a copy of it where another device, dtype or backend is asked for. A
            list, or a pattern such as ``runs/*/model.safetensors``, is a committee.
        device: Where to compute, e.g. "cuda"; None: the CPU, or where a given model is.
        dtype: "float32" or "float64"; that of the file if None. Relaxations and vibrations
            want float64, MD runs well in float32.
        head: Which of the model's heads gives the energy; needed where there are several.
        dispersion: Whether to add D3(BJ) for PBE to energy, forces and stress, or a dict of
            arguments of `DispersionD3`.
        skin: How much farther than the cutoff neighbors are searched, Å, so that most steps
            of a run need no search. Results do not depend on it.
        backend: Implementation of the costly operations, see `model.backends`; that of a
            model that is given if None.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If dispersion is asked for and its package is not installed.
        ValueError: If the file is not a model, the head is unknown or missing, or the
            models of a committee have no element in common.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 - ASE's own declaration

    def __init__(
        self,
        model: Model | Sequence[Model],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        head: str | None = None,
        dispersion: bool | dict[str, Any] = False,
        skin: float = 0.5,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        models, names = given_models(model, device=device, dtype=dtype, backend=backend)
        self._committee = Committee(models, names, head=head, skin=skin)
        if len(models) > 1:
            spread = ("energy_std", "forces_std", "stress_std")
            self.implemented_properties = [*type(self).implemented_properties, *spread]
        self._dispersion = None
        if dispersion:
            arguments = {} if dispersion is True else dispersion
            where = {"device": next(models[0].parameters()).device}
            self._dispersion = DispersionD3(**{**where, **arguments})

    @property
    def models(self) -> list[MACE]:
        """The models of the committee, or the only one."""
        return self._committee.models

    @property
    def model(self) -> MACE:
        """The only model.

        Raises:
            AttributeError: If there are several.
        """
        if len(self.models) > 1:
            raise AttributeError(
                f"the calculator is a committee of {len(self.models)} models: use .models"
            )
        return self.models[0]

    @property
    def elements(self) -> ElementTable:
        """The elements that all models know."""
        return self._committee.elements

    @property
    def r_max(self) -> float:
        """The largest cutoff, Å."""
        return self._committee.r_max

    @property
    def receptive_field(self) -> float:
        """How far from an atom its neighbors can change its energy, Å; without D3."""
        return self._committee.receptive_field

    @property
    def num_searches(self) -> int:
        """How many searches for neighbors there were so far."""
        return self._committee.num_searches

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute what is asked for; called by ASE.

        Args:
            atoms: The structure.
            properties: Forces are computed if they or the stress are asked for, and the
                stress comes with them where it exists. For the energy alone no derivative
                is taken.
            system_changes: What changed since the last call.

        Raises:
            PropertyNotImplementedError: If the stress is asked for and nothing is periodic,
                or the cell has no volume.
            ValueError: If an element is unknown to the model, a position is not finite, or
                the cell does not span the periodic directions.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        if system_changes:  # what is refused below must not answer with the last structure
            self.results = {}
        assert self.atoms is not None
        asked = {name.removesuffix("_std") for name in properties}
        has_stress = bool(self.atoms.pbc.any() and self.atoms.cell.volume > _NO_VOLUME)
        if "stress" in asked and not has_stress:
            raise PropertyNotImplementedError(_why_no_stress(self.atoms))
        derivatives = bool({"forces", "stress"} & asked)
        results = self._committee.predict(
            self.atoms, forces=derivatives, stress=derivatives and has_stress
        )
        if self._dispersion is not None:
            added = self._dispersion.compute(self.atoms)
            results["energy"] += added.energy
            if derivatives:
                results["forces"] = results["forces"] + added.forces
            if derivatives and has_stress:
                assert added.stress is not None
                results["stress"] = results["stress"] + added.stress
        self.results = {"free_energy": results["energy"], **results}

    def get_descriptors(
        self,
        atoms: Atoms | None = None,
        invariants_only: bool = True,
        num_layers: int | None = None,
    ) -> Any:
        """Node features: what the model knows of each atom's neighborhood.

        Args:
            atoms: The structure; the last one computed if None.
            invariants_only: Only the scalar features, which no rotation changes; otherwise
                all, in e3nn's order: degree, channel, component.
            num_layers: How many layers to take, from the first on; None: all.

        Returns:
            (nodes, features), layer after layer; of a committee a list of such arrays.

        Raises:
            ValueError: If there is no structure, or ``num_layers`` is out of range.
        """
        found = self._committee.descriptors(
            self._given(atoms), invariants_only=invariants_only, num_layers=num_layers
        )
        return found[0] if len(found) == 1 else found

    def get_hessian(
        self, atoms: Atoms | None = None
    ) -> Float[np.ndarray, "coordinates coordinates"]:
        """Second derivative of the energy by positions, eV/Å^2, as (3 nodes, 3 nodes).

        That of the model is exact, one backward pass a coordinate; dispersion adds its own
        by central differences. In a periodic cell all images of an atom move with it. It is
        what `ase.vibrations.VibrationsData.from_2d` takes.

        Args:
            atoms: The structure; the last one computed if None.

        Raises:
            ValueError: If there is no structure.
        """
        atoms = self._given(atoms)
        hessian = self._committee.hessian(atoms)
        if self._dispersion is not None:
            hessian += self._dispersion.hessian(atoms)
        return hessian

    def export_properties(self) -> Properties:
        """ASE's own results; those of a committee that ASE has no name for stay here."""
        results = self.results
        self.results = {n: v for n, v in results.items() if not n.endswith("_std")}
        try:
            return super().export_properties()
        finally:
            self.results = results

    def _given(self, atoms: Atoms | None) -> Atoms:
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("no structure was computed yet: give atoms")
        return atoms


def _why_no_stress(atoms: Atoms) -> str:
    name, pbc = atoms.get_chemical_formula() or "no atoms", atoms.pbc.tolist()
    if not atoms.pbc.any():
        return (
            f"the stress of {name} is not defined: with pbc={pbc} nothing is periodic. "
            "Energy and forces are available; for a stress set pbc to True along a lattice "
            "vector, in a cell that has a volume"
        )
    return (
        f"the stress of {name} is not defined: with pbc={pbc} its cell "
        f"{atoms.cell.array.tolist()} has no volume. Energy and forces are available; for "
        "a stress give the open directions lattice vectors too: it counts their length"
    )
