"""`DispersionD3`: Grimme's D3 with Becke-Johnson damping, for models of PBE energies.

Floor 2, beside the model files: a calculator adds it to what a model says. The parameters
and the energy are torch-dftd's (the extra ``mace-train[d3]``); the pairs come from our
neighbor list, one of the two directions each, and the stress is the derivative by a strain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr
from jaxtyping import Float

from mace_train.neighbors import neighbor_list

if TYPE_CHECKING:
    from ase import Atoms

_LAST_ELEMENT = 94  # D3 has parameters up to plutonium
_NO_VOLUME = 1e-6  # Å^3
_HESSIAN_STEP = 1e-3  # Å


class DispersionEnergy(NamedTuple):
    """What dispersion adds.

    Attributes:
        energy: eV.
        forces: eV/Å.
        stress: eV/Å^3, Voigt order, positive in tension; None where nothing is periodic or
            the cell has no volume.
    """

    energy: float
    forces: Float[np.ndarray, "nodes 3"]
    stress: Float[np.ndarray, " 6"] | None


class DispersionD3:
    """D3(BJ) energies without three-body terms (doi:10.1002/jcc.21759).

    Args:
        functional: Whose damping parameters are taken, in torch-dftd's spelling.
        cutoff: Of the energy's pairs, Å. 40 bohr is what published MACE-MP-0 results use.
        coordination_cutoff: Of the pairs that count as neighbors in the coordination
            numbers, Å; at most ``cutoff``. None: 40 bohr, or ``cutoff`` if that is less.
        smooth_cutoff: Take pairs to zero towards the cutoffs by a polynomial, which keeps
            the energy of an MD run continuous; other codes truncate them.
        device: Where to compute.
        dtype: "float32" or "float64".

    Raises:
        ImportError: If torch-dftd is not installed.
        ValueError: If the functional has no parameters or a cutoff is not positive.
    """

    def __init__(
        self,
        *,
        functional: str = "pbe",
        cutoff: float = 40 * Bohr,
        coordination_cutoff: float | None = None,
        smooth_cutoff: bool = False,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float64,
    ) -> None:
        if coordination_cutoff is None:
            coordination_cutoff = min(40 * Bohr, cutoff)
        if not 0 < coordination_cutoff <= cutoff:
            raise ValueError(
                f"cutoffs of D3 must be positive, and coordination_cutoff="
                f"{coordination_cutoff} Å at most cutoff={cutoff} Å"
            )
        try:
            from torch_dftd.dftd3_xc_params import get_dftd3_default_params
            from torch_dftd.nn.dftd3_module import DFTD3Module
        except ImportError as error:
            raise ImportError(
                "D3 dispersion needs torch-dftd: pip install 'mace-train[d3]'"
            ) from error
        try:
            parameters = get_dftd3_default_params("bj", functional)
        except ValueError as error:
            raise ValueError(
                f"D3(BJ) has no parameters for functional={functional!r}; write it as "
                "torch-dftd does, e.g. pbe, pbesol, revpbe, rpbe, pbe0, b3-lyp"
            ) from error
        self.cutoff = cutoff
        self.device = torch.device(device)
        names = {"float32": torch.float32, "float64": torch.float64}
        if dtype not in (*names, *names.values()):
            raise ValueError(f"dtype={dtype} of D3: use float32 or float64")
        self.dtype = names[dtype] if isinstance(dtype, str) else dtype
        self._energy = DFTD3Module(
            parameters,
            cutoff=cutoff,
            cnthr=coordination_cutoff,
            dtype=self.dtype,
            bidirectional=False,
            cutoff_smoothing="poly" if smooth_cutoff else "none",
        ).to(self.device)

    def compute(self, atoms: Atoms) -> DispersionEnergy:
        """Energy, forces and stress of a structure.

        Args:
            atoms: Any periodic boundary conditions.

        Raises:
            ValueError: If D3 has no parameters for an element, or the cell does not span
                the periodic directions.
        """
        _require_parameters(atoms)
        neighbors = neighbor_list(
            atoms.positions, atoms.cell.array, atoms.pbc, r_max=self.cutoff
        )
        edge_index = neighbors.edge_index[:, ::2]
        if not edge_index.shape[1]:
            nothing = np.zeros(6) if _has_stress(atoms) else None
            return DispersionEnergy(0.0, np.zeros((len(atoms), 3)), nothing)
        positions = self._leaf(atoms.positions)
        shifts = self._leaf(neighbors.unit_shifts[::2] @ atoms.cell.array)
        energy = self._energy.calc_energy_batch(
            torch.as_tensor(atoms.numbers, device=self.device, dtype=torch.int64),
            positions,
            torch.as_tensor(edge_index.copy(), device=self.device),
            cell=shifts.new_zeros(3, 3),  # not None: shifts are to be added
            shift_pos=shifts,
            damping="bj",
        ).sum()
        by_positions, by_shifts = torch.autograd.grad(energy, (positions, shifts))
        stress = None
        if _has_stress(atoms):
            # A strain moves atoms and periodic images alike.
            strain_derivative = positions.T @ by_positions + shifts.T @ by_shifts
            full = _array(strain_derivative + strain_derivative.T) / (2 * atoms.cell.volume)
            stress = full_3x3_to_voigt_6_stress(full)
        return DispersionEnergy(energy.item(), -_array(by_positions), stress)

    def hessian(self, atoms: Atoms) -> Float[np.ndarray, "coordinates coordinates"]:
        """Second derivative of the energy by positions, eV/Å^2, by central differences."""
        moved = atoms.copy()
        rows = []
        for place in np.ndindex(len(atoms), 3):
            forces = []
            for step in (_HESSIAN_STEP, -_HESSIAN_STEP):
                moved.positions = atoms.positions
                moved.positions[place] += step
                forces.append(self.compute(moved).forces.ravel())
            rows.append((forces[1] - forces[0]) / (2 * _HESSIAN_STEP))
        hessian = np.reshape(rows, (3 * len(atoms), 3 * len(atoms)))
        return (hessian + hessian.T) / 2

    def _leaf(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.as_tensor(np.array(values), device=self.device, dtype=self.dtype)
        return tensor.requires_grad_()


def _require_parameters(atoms: Atoms) -> None:
    places = np.flatnonzero(~np.isin(atoms.numbers, np.arange(1, _LAST_ELEMENT + 1)))
    if len(places):
        place = int(places[0])
        raise ValueError(
            f"D3 has no parameters for {atoms.symbols[place]} (atom {place}): it knows the "
            f"elements 1 to {_LAST_ELEMENT}. Set dispersion=False"
        )


def _has_stress(atoms: Atoms) -> bool:
    return bool(atoms.pbc.any() and atoms.cell.volume > _NO_VOLUME)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
