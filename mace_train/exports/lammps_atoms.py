"""`LammpsAtoms`: atoms, ghosts and pairs as LAMMPS's ML-IAP gives them to a model.

Floor 3. The names are ML-IAP's. Exported files are called with it before they are called
done, and `lammps_fix` fills it from a running LAMMPS.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mace_train.graph import AtomicGraph


class LammpsAtoms:
    """The atoms of one process, and what a model says about them.

    Owned atoms come first, then ghosts. Each pair of an owned atom i with a neighbor j,
    owned or ghost, is listed, and its vector is x_j - x_i.

    Args:
        elems: Place of each atom's element in the model's table.
        owner: The owned atom that each atom is, or is a copy of; owned atoms are their own.
        pair_i: Owned atom of each pair.
        pair_j: Its neighbor.
        rij: Å.

    Attributes:
        eatoms: Energies of owned atoms, eV; filled by a model.
        energy: Their sum, eV; set by a model.
        f: Forces on all atoms, eV/Å; those on ghosts belong to their owners.
        virial: Sum over pairs of -rij fij, eV.
    """

    def __init__(
        self,
        *,
        elems: Int[np.ndarray, " total"],
        owner: Int[np.ndarray, " total"],
        pair_i: Int[np.ndarray, " pairs"],
        pair_j: Int[np.ndarray, " pairs"],
        rij: Float[np.ndarray, "pairs 3"],
    ) -> None:
        self.elems = elems.astype(np.int32)
        self.owner = torch.from_numpy(owner.astype(np.int64))
        self.pair_i = pair_i.astype(np.int32)
        self.pair_j = pair_j.astype(np.int32)
        self.rij = np.ascontiguousarray(rij, np.float64)
        self.ntotal = len(owner)
        self.nlocal = int(np.count_nonzero(owner == np.arange(len(owner))))
        self.nlistatoms = self.nlocal
        self.npairs = len(pair_i)
        self.iatoms = np.arange(self.nlocal, dtype=np.int32)
        self.eatoms = np.zeros(self.nlocal)
        self.energy = 0.0
        self.f = np.zeros((self.ntotal, 3))
        self.virial = np.zeros((3, 3))

    @classmethod
    def of_graph(cls, graph: AtomicGraph) -> LammpsAtoms:
        """One structure on a single process, its periodic images as ghosts."""
        sender, receiver = graph.edge_index.numpy()
        unit_shifts = graph.unit_shifts.double().numpy()
        num_owned = graph.num_nodes
        is_ghost = np.abs(unit_shifts).max(axis=1, initial=0) > 0
        # An edge has the vector of its receiver minus that of its sender's image.
        images = np.column_stack([sender, -unit_shifts])[is_ghost]
        ghosts, which = np.unique(images, axis=0, return_inverse=True)
        owner = np.concatenate([np.arange(num_owned), ghosts[:, 0].astype(np.int64)])
        pair_j = sender.copy()
        pair_j[is_ghost] = num_owned + which.reshape(-1)
        positions = graph.positions.double().numpy()
        shifts = unit_shifts @ graph.cell[0].double().numpy()
        return cls(
            elems=graph.element_index.numpy()[owner],
            owner=owner,
            pair_i=receiver,
            pair_j=pair_j,
            rij=positions[sender] - positions[receiver] - shifts,
        )

    def update_pair_forces(self, fij: Float[np.ndarray, "pairs 3"]) -> None:
        """Add dE/drij of all pairs to the forces, equal and opposite, and to the virial."""
        np.add.at(self.f, self.pair_i, fij)
        np.add.at(self.f, self.pair_j, -fij)
        self.virial -= self.rij.T @ fij

    def forward_exchange(self, copy_from: Tensor, copy_to: Tensor, vec_len: int) -> None:
        """Give each ghost the row of its owner."""
        assert copy_from.shape == copy_to.shape == (self.ntotal, vec_len)
        copy_to.copy_(copy_from[self.owner])

    def reverse_exchange(self, copy_from: Tensor, copy_to: Tensor, vec_len: int) -> None:
        """Add the rows of ghosts to those of their owners; ghosts keep none."""
        assert copy_from.shape == copy_to.shape == (self.ntotal, vec_len)
        copy_to.zero_().index_add_(0, self.owner, copy_from)

    def owned_forces(self) -> Float[np.ndarray, "nodes 3"]:
        """Forces on owned atoms, with those on their ghosts, eV/Å."""
        forces = np.zeros((self.nlocal, 3))
        np.add.at(forces, self.owner.numpy(), self.f)
        return forces
