"""`OrderedPairs`: one order for one structure, whatever was searched for."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mace_train.neighbors import neighbor_list
from mace_train.ordered_pairs import OrderedPairs


def crystal(pbc=(1, 1, 1), seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    cell = rng.normal(0, 0.7, (3, 3)) + 4.5 * np.eye(3)
    return Atoms("H8", positions=rng.uniform(-5, 9, (8, 3)), cell=cell, pbc=pbc)


def search(atoms: Atoms, r_max: float) -> OrderedPairs:
    return OrderedPairs.search(atoms.positions, atoms.cell.array, atoms.pbc, r_max=r_max)


def rows(pairs: OrderedPairs) -> list[tuple[int, ...]]:
    columns = np.stack([pairs.first, pairs.second, *pairs.shifts[pairs.shift].T], axis=1)
    return list(map(tuple, columns.tolist()))


@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 1, 1), (0, 0, 0)], ids=str)
def test_each_pair_stands_once_and_in_order(pbc):
    atoms = crystal(pbc)
    found = rows(search(atoms, 5.0))
    assert found == sorted(found)
    assert all(row[:2] < (row[1], row[0]) or row[2:] > (0, 0, 0) for row in found)
    both = {*found, *((j, i, -x, -y, -z) for i, j, x, y, z in found)}
    expected = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, r_max=5.0)
    edges = np.vstack([expected.edge_index, expected.unit_shifts.T]).T.tolist()
    assert both == set(map(tuple, edges))
    assert len(both) == 2 * len(found)


def test_pairs_within_a_cutoff_are_a_part_of_those_within_a_larger_one():
    atoms = crystal()
    few, many = search(atoms, 4.0), search(atoms, 6.0)
    squares = many.squared_lengths(atoms.positions, atoms.cell.array)
    near = np.flatnonzero(squares < 16)
    assert [rows(many)[place] for place in near] == rows(few)
    own = few.squared_lengths(atoms.positions, atoms.cell.array)
    np.testing.assert_array_equal(own, squares[near])


def test_lengths_are_those_of_the_vectors():
    atoms = crystal((1, 1, 0))
    pairs = search(atoms, 5.0)
    vectors = (
        atoms.positions[pairs.second]
        - atoms.positions[pairs.first]
        + pairs.shifts[pairs.shift] @ atoms.cell.array
    )
    squares = pairs.squared_lengths(atoms.positions, atoms.cell.array)
    np.testing.assert_allclose(squares, (vectors**2).sum(1), rtol=1e-12)
    assert 0 < squares.min() < squares.max() < 25


def test_atoms_that_jump_by_cell_vectors_keep_their_pairs_and_the_order():
    atoms = crystal((1, 1, 0))
    pairs = search(atoms, 5.0)
    jumps = np.random.default_rng(1).integers(-3, 4, (8, 3)) * [1, 1, 0]
    there = atoms.copy()
    there.positions += jumps @ atoms.cell.array
    assert rows(pairs.moved(jumps)) == rows(search(there, 5.0))


def test_edges_are_both_directions_in_turn():
    pairs = search(crystal(), 5.0)
    edge_index, shifts = pairs.edges(np.array([4, 1]))
    (i, j, *to), (k, m, *back) = rows(pairs)[4], rows(pairs)[1]
    assert edge_index.tolist() == [[i, j, k, m], [j, i, m, k]]
    np.testing.assert_array_equal(shifts, [to, np.negative(to), back, np.negative(back)])


def test_atoms_many_cells_apart_are_in_order_too():
    """Beyond what fits into one number for all shifts, or for atoms and shift."""
    atoms = bulk("Cu", cubic=True)
    home = rows(search(atoms, 4.0))
    jumps = np.array([[0, 0, 0], [3_000_000, 0, -2_000_000], [0, 70_000, 1], [0, 1, 0]])
    far = search(atoms, 4.0).moved(jumps)
    expected = [(i, j, *(np.array(s) + jumps[i] - jumps[j])) for i, j, *s in home]
    assert rows(far) == sorted(expected) == expected


@pytest.mark.parametrize("atoms", [Atoms(), Atoms("H"), Atoms(cell=[2] * 3, pbc=1)])
def test_there_may_be_no_pairs(atoms):
    pairs = search(atoms, 3.0)
    assert len(pairs) == 0
    assert pairs.squared_lengths(atoms.positions, atoms.cell.array).shape == (0,)
    edge_index, shifts = pairs.edges(np.arange(0))
    assert (edge_index.shape, shifts.shape) == ((2, 0), (0, 3))
