"""Neighbor lists against two independent codes (matscipy and ase) and by counting."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list as ase_neighbor_list
from matscipy.neighbours import neighbour_list as matscipy_neighbour_list

from mace_train.neighbors import count_neighbors, neighbor_list


def _edges(atoms: Atoms, r_max: float) -> list[tuple[int, ...]]:
    found = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, r_max=r_max)
    return sorted(map(tuple, np.vstack([found.edge_index, found.unit_shifts.T]).T.tolist()))


def _oracle_edges(oracle, atoms: Atoms, r_max: float) -> list[tuple[int, ...]]:
    first, second, shifts = oracle("ijS", atoms, r_max)
    return sorted(map(tuple, np.vstack([first, second, shifts.T]).T.tolist()))


def _random_crystal(seed: int, pbc) -> Atoms:
    rng = np.random.default_rng(seed)
    cell = rng.normal(0, 1.2, (3, 3)) + 5.0 * np.eye(3)
    positions = rng.uniform(-7, 12, (9, 3))  # many lie outside the cell
    return Atoms("H9", positions=positions, cell=cell, pbc=pbc)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 0)], ids=str
)
def test_edges_equal_those_of_matscipy_and_ase(seed, pbc):
    atoms = _random_crystal(seed, pbc)
    edges = _edges(atoms, 4.3)
    assert edges == _oracle_edges(matscipy_neighbour_list, atoms, 4.3)
    assert edges == _oracle_edges(ase_neighbor_list, atoms, 4.3)


def test_an_atom_sees_its_own_images_in_a_cell_smaller_than_the_cutoff():
    primitive = bulk("Cu", "fcc", a=3.6)
    assert len(_edges(primitive, 3.6 / np.sqrt(2) + 0.1)) == 12
    primitive.pbc = (True, True, False)
    assert len(_edges(primitive, 3.6 / np.sqrt(2) + 0.1)) == 6


def test_edge_vectors_follow_from_positions_and_shifts():
    atoms = _random_crystal(3, (1, 1, 0))
    found = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, r_max=4.0)
    sender, receiver = found.edge_index
    vectors = (
        atoms.positions[receiver]
        - atoms.positions[sender]
        + found.unit_shifts @ atoms.cell.array
    )
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.max() < 4.0
    # The two directions of a pair follow each other.
    assert np.array_equal(found.edge_index[:, ::2], found.edge_index[::-1, 1::2])
    np.testing.assert_allclose(vectors[::2], -vectors[1::2], atol=1e-12)


def test_a_molecule_needs_no_cell_and_a_lone_atom_has_no_edges():
    water = Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    assert len(_edges(water, 1.2)) == 4
    assert _edges(Atoms("O", positions=[[1, 2, 3]]), 6.0) == []
    nothing = neighbor_list(np.zeros((0, 3)), np.zeros((3, 3)), (False,) * 3, r_max=5.0)
    assert nothing.edge_index.shape == (2, 0)


def test_a_slab_with_a_zero_open_vector_equals_one_with_a_long_one():
    slab = bulk("Al", "fcc", a=4.05, cubic=True)
    slab.pbc = (True, True, False)
    slab.cell[2] = [0, 0, 40.0]
    with_vacuum = _edges(slab, 5.0)
    slab.cell[2] = 0.0
    assert _edges(slab, 5.0) == with_vacuum


@pytest.mark.parametrize(
    ("cell", "message"),
    [(np.zeros((3, 3)), "does not span"), (np.ones((3, 3)), "does not span")],
)
def test_a_periodic_direction_without_lattice_vector_is_refused(cell, message):
    with pytest.raises(ValueError, match=message):
        neighbor_list(np.zeros((1, 3)), cell, (True, True, True), r_max=5.0)


def test_a_cutoff_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="r_max must be positive, got 0"):
        neighbor_list(np.zeros((1, 3)), np.eye(3), (False,) * 3, r_max=0.0)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 0)], ids=str)
def test_the_count_is_that_of_the_list(pbc):
    for seed in range(4):
        atoms = _random_crystal(seed, pbc)
        count = count_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, r_max=5.0)
        assert count == len(_edges(atoms, 5.0))
    assert count_neighbors(np.zeros((0, 3)), np.eye(3), (False,) * 3, r_max=5.0) == 0
