"""`MACECalculator`: a model as an ASE calculator, for MD, relaxation and NEB.

Floor 3, beside training and without it: neither Lightning nor HDF5 is loaded. Structures
become graphs here; everything else is the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress

from mace_train.checkpoints.model_file import floating_dtype, load_model
from mace_train.graph import AtomicGraph
from mace_train.model.backends import Backend
from mace_train.model.mace import MACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


class MACECalculator(Calculator):
    """Energy, forces and stress of a MACE model, in ASE's units (eV, Å).

    Energies include the atoms' own (E0s); ``energies`` are those of the nodes and sum to
    ``energy``. ``stress`` is in Voigt order, positive in tension, and exists for structures
    that are periodic in three directions.

    Args:
        model: A file that `load_model` reads, or a model; a model that is given is used as
            it is (moved to ``device`` and ``dtype`` where these are given).
        device: Where to compute, e.g. "cpu" or "cuda".
        dtype: "float32" or "float64"; that of the file if None. Relaxations and vibrations
            want float64, MD runs well in float32.
        head: Which of the model's heads gives the energy; needed where there are several.
        backend: Implementation of the costly operations, see `model.backends`; that of a
            model that is given if None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a model, or the head is unknown or missing.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 - ASE's own declaration

    def __init__(
        self,
        model: str | Path | MACE,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        head: str | None = None,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        if isinstance(model, MACE):
            self.model = model.to(device=device, dtype=floating_dtype(dtype)).eval()
        else:
            self.model = load_model(model, device=device, dtype=dtype).requires_grad_(False)
        if backend is not None:
            self.model.backend = backend
        self._head = _place_of_head(self.model.heads, head)

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
                stress comes with them where it exists.
            system_changes: What changed since the last call.

        Raises:
            PropertyNotImplementedError: If the stress is asked for and the structure is not
                periodic in three directions.
            ValueError: If an element is unknown to the model, or the cell does not span the
                periodic directions.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None
        has_stress = bool(self.atoms.pbc.all())
        if "stress" in properties and not has_stress:
            raise PropertyNotImplementedError(
                f"the stress of {self.atoms.get_chemical_formula()} is not defined: with "
                f"pbc={self.atoms.pbc.tolist()} it has no volume. Energy and forces are "
                "available; a stress needs a structure that is periodic in three directions"
            )
        parameter = next(self.model.parameters())
        graph = AtomicGraph.from_atoms(
            self.atoms,
            elements=self.model.elements,
            r_max=self.model.r_max,
            dtype=parameter.dtype,
            head=self._head,
        ).to(parameter.device)
        with_forces = bool({"forces", "stress"} & set(properties))
        prediction = self.model(
            graph,
            compute_forces=with_forces,
            compute_stress=with_forces and has_stress,
            create_graph=False,
        )
        energy = prediction.energy.item()
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": _array(prediction.node_energies),
        }
        if prediction.forces is not None:
            self.results["forces"] = _array(prediction.forces)
        if prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(
                _array(prediction.stress)[0]
            )


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _place_of_head(heads: Sequence[str], head: str | None) -> int:
    names = list(heads)
    if head is None and len(names) == 1:
        return 0
    if head is None:
        raise ValueError(f"the model has several heads: give head= one of {names}")
    if head not in names:
        raise ValueError(f"the model has no head {head!r}: give head= one of {names}")
    return names.index(head)
