"""The record that ML-IAP gives a model: pairs, ghosts, and what is made of pair forces."""

import numpy as np
import torch
from ase import Atoms

from mace_train.elements import ElementTable
from mace_train.exports.lammps_atoms import LammpsAtoms
from mace_train.graph import AtomicGraph

ELEMENTS = ElementTable((1, 8, 14))


def atoms_of(atoms, r_max=4.0):
    return LammpsAtoms.of_graph(
        AtomicGraph.from_atoms(atoms, elements=ELEMENTS, r_max=r_max)
    )


def test_pairs_are_those_of_owned_atoms_and_their_vectors_lead_to_the_neighbor(crystal):
    found = atoms_of(crystal)
    assert found.nlocal == found.nlistatoms == len(crystal)
    assert found.pair_i.max() < found.nlocal <= found.pair_j.max()
    # x_j - x_i, as places of ghosts follow from any of their pairs.
    places = crystal.positions[found.pair_i] + found.rij
    for atom in range(found.ntotal):
        of_atom = places[found.pair_j == atom]
        if len(of_atom):
            np.testing.assert_allclose(of_atom, of_atom[:1].repeat(len(of_atom), 0))
    owner = found.owner.numpy()[found.pair_j]
    shifts = np.linalg.solve(crystal.cell.array.T, (places - crystal.positions[owner]).T)
    np.testing.assert_allclose(shifts, np.rint(shifts), atol=1e-9)


def test_a_molecule_has_no_ghosts(water):
    found = atoms_of(water)
    assert found.ntotal == found.nlocal == 3
    np.testing.assert_array_equal(found.elems, [1, 0, 0])


def test_pair_forces_pull_both_atoms_and_make_the_virial():
    """A spring between two atoms: energy k (r - 1)^2 / 2, counted from both ends."""
    found = atoms_of(Atoms("OH", [[0, 0, 0], [1.5, 0, 0]]))
    length = np.linalg.norm(found.rij, axis=1, keepdims=True)
    by_rij = 0.5 * (length - 1) * found.rij / length  # half the spring for each pair
    found.update_pair_forces(by_rij)
    np.testing.assert_allclose(found.owned_forces(), [[0.5, 0, 0], [-0.5, 0, 0]])
    # Sum of positions times forces: 1.5 * -0.5.
    np.testing.assert_allclose(found.virial, np.diag([-0.75, 0, 0]))


def test_rows_go_to_ghosts_and_come_back_to_owners(crystal):
    found = atoms_of(crystal)
    rows, out = torch.zeros(found.ntotal, 2), torch.zeros(found.ntotal, 2)
    rows[: found.nlocal] = torch.arange(2.0 * found.nlocal).view(-1, 2)
    found.forward_exchange(rows, out, 2)
    torch.testing.assert_close(out, rows[found.owner])
    found.reverse_exchange(torch.ones(found.ntotal, 2), out, 2)
    copies = torch.bincount(found.owner).float()
    torch.testing.assert_close(out[: found.nlocal, 0], copies)
    assert not out[found.nlocal :].any()
