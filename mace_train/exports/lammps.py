"""``format=lammps``: what LAMMPS's ML-IAP loads, ``pair_style mliap unified``.

Floor 3. ML-IAP calls a Python object in every step, with the pairs of the atoms of its
process. LAMMPS unpickles the object, so this package has to be installed in the Python
that LAMMPS is built with. The pickle holds plain arrays and one name, `restored`.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function

from mace_train.exports.domain_energies import Domain, energies_and_gradient
from mace_train.exports.export_format import ExportFormat, FramePrediction
from mace_train.exports.lammps_atoms import LammpsAtoms
from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE
from mace_train.model.rebuild import rebuild_model

FORMAT_VERSION = 1

NO_EXCHANGE = (
    "this LAMMPS cannot hand features of atoms on to their ghosts, and a model of {layers} "
    "layers needs that. ML-IAP does it with KOKKOS alone: build LAMMPS with -D "
    "PKG_KOKKOS=yes (Kokkos_ENABLE_SERIAL or _OPENMP for a CPU) and run it with '-k on -sf "
    "kk', or take mace_train.exports.lammps_fix, which needs no ML-IAP"
)


class LammpsModel:
    """A model as ML-IAP's unified interface wants it: attributes and three methods.

    Args:
        model: With one head.
        metadata: Plain values that tell where the model comes from.

    Attributes:
        element_types: Symbols, in the order in which LAMMPS numbers elements.
        rcutfac: Half the cutoff in Å, since all radii of elements are 1 to ML-IAP.
        ndescriptors: Not used by us; ML-IAP wants a positive number.
        nparams: The same.
        interface: ML-IAP's own.
    """

    def __init__(self, model: MACE, metadata: dict[str, Any]) -> None:
        self.model = model
        self.metadata = metadata
        self.interface: Any = None
        self.element_types = list(model.elements.symbols)
        self.ndescriptors = 1
        self.nparams = 1
        self.rcutfac = model.r_max / 2

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: v.cpu().numpy() for name, v in self.model.state_dict().items()}
        hyperparameters = self.model.hyperparameters
        return restored, (FORMAT_VERSION, hyperparameters, state, self.metadata)

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: energies need no descriptors first."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: `compute_forces` does all."""

    def compute_forces(self, data: Any) -> None:
        """Give LAMMPS the energies of its atoms, and the forces of its pairs.

        LAMMPS makes forces and virials of the pairs' gradients, and sums up over processes.

        Args:
            data: ML-IAP's record of the atoms of a process, whose pairs (i, j) have the
                vectors x_j - x_i; in arrays of numpy, or of cupy on a GPU.

        Raises:
            RuntimeError: If the model needs features of ghosts and this LAMMPS cannot hand
                them on.
        """
        num_owned = int(data.nlocal) if hasattr(data, "nlocal") else int(data.nlistatoms)
        num_layers = len(self.model.interactions)
        has_ghosts = int(data.ntotal) > num_owned
        if num_layers > 1 and has_ghosts and not hasattr(data, "forward_exchange"):
            raise RuntimeError(NO_EXCHANGE.format(layers=num_layers))
        rij = torch.as_tensor(data.rij)
        self.model.to(rij.device)
        # With "unified FILE 1", pairs of ghosts are listed too; their owners compute them.
        pair_i = torch.as_tensor(data.pair_i).long()
        (listed,) = torch.nonzero(pair_i < num_owned, as_tuple=True)
        domain, nodes = _domain(self.model, data, num_owned, listed)

        def hand_on(features: Tensor) -> Tensor:
            return _HandOn.apply(features, data, int(data.ntotal))[nodes]

        energies, gradient = energies_and_gradient(self.model, domain, hand_on)
        # An edge goes from j to i, and so does its vector.
        by_rij = torch.zeros_like(rij, dtype=torch.float64)
        by_rij[listed] = -gradient.double()
        _give_energies(data, energies.double(), num_owned)
        if len(rij):
            data.update_pair_forces(by_rij if rij.is_cuda else by_rij.numpy())


def restored(
    version: int,
    hyperparameters: dict[str, Any],
    state: dict[str, np.ndarray],
    metadata: dict[str, Any],
) -> LammpsModel:
    """The model that a pickle holds.

    Raises:
        ValueError: If it was written in another format.
    """
    if version != FORMAT_VERSION:
        raise ValueError(
            f"the LAMMPS model has format {version!r}, and this version of mace-train "
            f"reads format {FORMAT_VERSION}: export the model again"
        )
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    model = rebuild_model(hyperparameters, tensors).requires_grad_(False)
    return LammpsModel(model, metadata)


def write_lammps(path: Path, model: MACE, metadata: dict[str, Any]) -> None:
    """Write a pickle; see `ExportFormat.write`.

    Raises:
        ValueError: If the name ends as those of torch, which LAMMPS reads in another way.
    """
    if path.suffix in (".pt", ".pth"):
        raise ValueError(
            f"LAMMPS hands a file whose name ends in {path.suffix} to torch.load, which "
            "refuses objects in many versions: let the name of the output end in .pkl"
        )
    about = {"units": "metal", "head": model.heads[0], "provenance": metadata}
    path.write_bytes(pickle.dumps(LammpsModel(model, about)))


def predict_lammps(path: Path, graphs: Sequence[AtomicGraph]) -> list[FramePrediction]:
    """What a written file gives LAMMPS, called as ML-IAP does; see `ExportFormat.predict`.

    Periodic images are ghosts of a single process. The file is unpickled: give only a file
    just written.
    """
    unified = pickle.loads(path.read_bytes())
    predictions = []
    for graph in graphs:
        atoms = LammpsAtoms.of_graph(graph)
        unified.compute_forces(atoms)
        volume = abs(float(torch.linalg.det(graph.cell[0].double())))
        is_crystal = bool(graph.pbc.all())
        predictions.append(
            FramePrediction(
                energy=atoms.energy,
                forces=atoms.owned_forces(),
                stress=-atoms.virial / volume if is_crystal else None,
            )
        )
    return predictions


class _HandOn(Function):
    """Rows of owned atoms to their ghosts, and gradients of ghosts back to their owners."""

    @staticmethod
    def forward(
        ctx: Any, features: Float[Tensor, "owned width"], data: Any, num_total: int
    ) -> Float[Tensor, "total width"]:
        ctx.data, ctx.num_owned = data, len(features)
        rows = features.new_zeros(num_total, features.shape[1])
        rows[: len(features)] = features
        if num_total == len(features) and not hasattr(data, "forward_exchange"):
            return rows
        handed_on = rows.clone()
        data.forward_exchange(rows, handed_on, rows.shape[1])
        return handed_on

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows = gradients[0].contiguous()
        handed_back = rows.clone()
        if hasattr(ctx.data, "reverse_exchange"):
            ctx.data.reverse_exchange(rows, handed_back, rows.shape[1])
        return handed_back[: ctx.num_owned], None, None


def _domain(
    model: MACE, data: Any, num_owned: int, listed: Tensor
) -> tuple[Domain, Tensor]:
    """Owned atoms and the ghosts that are somebody's neighbors, with LAMMPS's numbers."""
    dtype = next(model.parameters()).dtype
    elements = torch.as_tensor(data.elems).long()[: int(data.ntotal)]
    receiver = torch.as_tensor(data.pair_i).long()[listed]
    sender = torch.as_tensor(data.pair_j).long()[listed]
    is_node = torch.zeros(len(elements), dtype=torch.bool, device=elements.device)
    is_node[:num_owned] = True
    is_node[sender] = True
    (nodes,) = torch.nonzero(is_node, as_tuple=True)
    place = torch.cumsum(is_node, 0) - 1
    domain = Domain(
        num_owned=num_owned,
        # -1 are atoms that "pair_coeff ... NULL" leaves to another pair style.
        element_index=elements[nodes].clamp(min=0),
        edge_index=torch.stack([place[sender], receiver]),
        edge_vectors=-torch.as_tensor(data.rij)[listed].to(dtype),
    )
    return domain, nodes


def _give_energies(data: Any, energies: Float[Tensor, " owned"], num_owned: int) -> None:
    """Energies of the atoms in LAMMPS's list, and their sum."""
    in_list = torch.as_tensor(data.iatoms).long()[: int(data.nlistatoms)]
    mine = energies[in_list[in_list < num_owned]]
    if hasattr(data, "eatoms"):
        torch.as_tensor(data.eatoms)[: len(mine)] = mine
    else:  # without KOKKOS it can be set, and not read
        data.eatoms = mine.numpy()
    data.energy = float(mine.sum())


LAMMPS = ExportFormat(
    name="lammps",
    suffix=".pkl",
    takes_several_heads=False,
    require=lambda: None,
    write=write_lammps,
    predict=predict_lammps,
    next_step="in a LAMMPS with KOKKOS: pair_style mliap unified PATH 0 and pair_coeff * * "
    "SYMBOLS (docs/exports.md)",
)
