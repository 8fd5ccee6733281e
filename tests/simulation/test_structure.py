import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mace_train.simulation.structure import (
    bond_lengths,
    mean_square_displacement,
    radial_distribution,
)


def test_diamond_has_four_neighbors_at_its_bond_length():
    atoms = bulk("Si", a=5.43, cubic=True) * 2
    r, g = radial_distribution([atoms, atoms], r_max=5.4, num_bins=540)
    assert r[np.argmax(g[:300])] == pytest.approx(5.43 * np.sqrt(3) / 4, abs=0.01)
    density = len(atoms) / atoms.get_volume()
    neighbors = (4 * np.pi * r**2 * g * density * (r[1] - r[0]))[r < 3.0].sum()
    assert neighbors == pytest.approx(4.0, rel=1e-3)


def test_a_gas_has_no_structure():
    rng = np.random.default_rng(0)
    gas = [
        Atoms("Ar400", rng.uniform(0, 20, (400, 3)), cell=[20, 20, 20], pbc=True)
        for _ in range(5)
    ]
    g = radial_distribution(gas, r_max=8.0, num_bins=4)[1]
    np.testing.assert_allclose(g[1:], 1.0, atol=0.03)


def test_a_distribution_needs_periodic_frames():
    with pytest.raises(ValueError, match=r"g\(r\) of 0 frames"):
        radial_distribution([], r_max=3.0)
    with pytest.raises(ValueError, match="periodic in three directions"):
        radial_distribution([Atoms("N2")], r_max=3.0)


def test_displacements_leave_out_the_motion_of_the_whole():
    first = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    moved, one = first.copy(), first.copy()
    moved.positions += [3.0, -1.0, 0.5]
    one.positions[2] += [0.0, 0.8, 0.0]
    squares = mean_square_displacement([first, moved, one])
    np.testing.assert_allclose(squares[:2], 0.0, atol=1e-20)
    shift = 0.8 * first.get_masses()[2] / first.get_masses().sum()
    expected = ((0.8 - shift) ** 2 + 7 * shift**2) / 8
    assert squares[2] == pytest.approx(expected)


def test_bonds_of_the_first_frame_are_followed_across_the_cell():
    first = bulk("Si", a=5.43, cubic=True)
    swapped = first.copy()
    swapped.positions[[0, 4]] = swapped.positions[[4, 0]]
    far = first.copy()
    far.positions[0] += 5.43  # unwrapped: a whole cell away from its first neighbors
    lengths = bond_lengths([first, swapped, far], first=first)
    assert lengths.shape == (3, 16)
    np.testing.assert_allclose(lengths[0], 2.3513, atol=1e-4)
    assert (lengths[1] > 3.0).sum() == 6
    assert (lengths[2] > 3.0).sum() == 4


def test_atoms_without_neighbors_have_no_bonds():
    atoms = Atoms("Ar2", [[0, 0, 0], [20, 0, 0]])
    with pytest.raises(ValueError, match=r"no two atoms of the first frame .* 3\.2 Å"):
        bond_lengths([atoms], first=atoms)
