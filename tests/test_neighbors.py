"""Neighbor lists against two independent codes (matscipy and ase) and by counting."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list as ase_neighbor_list
from matscipy.neighbours import neighbour_list as matscipy_neighbour_list
from scipy.spatial import cKDTree

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


@pytest.mark.parametrize(
    ("positions", "lengths", "pbc", "pair"),
    [
        ([[0, 0, 0], [3e6, 0, 0], [3e6, 1, 0]], (0, 0, 0), (0, 0, 0), (1, 2)),
        ([[0, 1, 0], [0, -2e30, 0], [0, 0, 0]], (0, 0, 0), (0, 0, 0), (0, 2)),
        ([[0, 0, 1e9], [0, 0, 0], [0, 1, 0]], (4, 4, 4), (1, 1, 0), (1, 2)),
        ([[0, 0, 0], [9e5, 2e5, 0], [0, 1, 0]], (0, 0, 4), (0, 0, 1), (0, 2)),
        ([[0, 0, 0], [0, 0, 7e5], [0, 1, 0]], (4, 4, 2e6), (1, 1, 1), (0, 2)),
        ([[0, 0, 7], [2, 0, -8e7], [2, 1, -8e7]], (5, 6, 1e8), (1, 1, 1), (1, 2)),
        ([[0, 0, 0], [0, 9e3, 9e3], [0, 1, 0]], (9, 1e4, 1e4), (1, 1, 1), (0, 2)),
        ([[0, 0, 0], [0, 1, 0], [1e11, 1, 0]], (1e12, 1e12, 1e12), (1, 1, 1), (0, 1)),
    ],
)
def test_atoms_may_be_far_apart_in_thin_space(positions, lengths, pbc, pair):
    """In some of these vesin 0.6 divides by zero, which ends the process."""
    atoms = Atoms("H3", positions, cell=lengths, pbc=pbc)
    assert [edge[:2] for edge in _edges(atoms, 3.0)] == [pair, pair[::-1]]


def test_skewed_thin_cells_have_the_edges_of_short_ones():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-4, 12, (7, 3))
    first, second = np.array([[4.0, 0.5, 0.3], [0.4, 5.0, -0.2]])
    normal = np.cross(first, second) / np.linalg.norm(np.cross(first, second))
    third = 2 * first - second
    short = Atoms("H7", positions, cell=[first, second, third + 60 * normal], pbc=True)
    long = short.copy()
    long.cell[2] = third + 6e6 * normal
    long.positions[3] += long.cell[2] - 2 * long.cell[0]
    jumps = np.zeros((7, 3))
    jumps[3] = [-2, 0, 1]
    expected = [
        (i, j, *(np.array(s) + jumps[i] - jumps[j]).astype(int))
        for i, j, *s in _edges(short, 4.0)
    ]
    assert _edges(long, 4.0) == sorted(expected)


def test_a_thin_cell_that_is_too_skewed_is_refused():
    cell = np.array([[4.0, 0, 0], [0, 5.0, 0], [2e5, 0, 6e6]])
    with pytest.raises(
        ValueError, match=r"cell .* too long, thin and skewed .* pbc to False"
    ):
        neighbor_list(np.zeros((1, 3)), cell, (True,) * 3, r_max=4.0)


def test_a_wide_sheet_is_sorted_into_larger_boxes():
    sheet = np.random.default_rng(0).uniform(0, 2500, (4000, 3)) * [1, 1, 1e-3]
    found = neighbor_list(sheet, np.zeros((3, 3)), (False,) * 3, r_max=3.0)
    pairs = {tuple(sorted(edge)) for edge in found.edge_index.T.tolist()}
    assert pairs == cKDTree(sheet).query_pairs(3.0)
    assert len(pairs) > 10


@pytest.mark.parametrize("pbc", [(False,) * 3, (True,) * 3], ids=str)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named(number, pbc):
    positions = np.zeros((3, 3))
    positions[2, 1] = number
    message = rf"position of atom 2 is \[0.0, {number}, 0.0\]: it must be finite"
    with pytest.raises(ValueError, match=message):
        neighbor_list(positions, np.eye(3), pbc, r_max=1.5)
    with pytest.raises(ValueError, match=r"the cell is .*: its vectors must be finite"):
        neighbor_list(np.zeros((3, 3)), np.full((3, 3), number), pbc, r_max=1.5)
