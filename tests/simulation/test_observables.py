import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mace_train.simulation.observables import closest_pair, has_company, pressure


def test_the_closest_pair_is_the_closest_for_its_radii():
    # C and O at 1.2 Å are nearer for their size than H and H at 0.75 Å.
    atoms = Atoms("HHCO", [[0, 0, 0], [0, 0, 0.75], [9, 0, 0], [9, 0, 1.2]])
    pair = closest_pair(atoms)
    assert (pair.first, pair.second) == (2, 3)
    assert pair.distance == pytest.approx(1.2)
    assert pair.contact == pytest.approx(0.76 + 0.66)
    assert pair.shortest == pytest.approx(0.75)


def test_the_closest_pair_may_lie_across_the_cell_or_be_an_image_of_one_atom():
    across = Atoms("Si2", [[0.1, 0, 0], [9.0, 0, 0]], cell=[10, 10, 10], pbc=True)
    assert closest_pair(across).distance == pytest.approx(1.1)
    alone = Atoms("Si", [[0, 0, 0]], cell=[2.0, 20, 20], pbc=True)
    pair = closest_pair(alone)
    assert (pair.first, pair.second, pair.distance) == (0, 0, pytest.approx(2.0))


def test_atoms_far_apart_have_no_closest_pair():
    assert closest_pair(Atoms("Si2", [[0, 0, 0], [9, 0, 0]])) is None
    # Within reach of the search for Cs, but not near for two H.
    assert closest_pair(Atoms("HHCs", [[0, 0, 0], [3, 0, 0], [30, 0, 0]])) is None


def test_company_is_counted_in_sums_of_radii():
    atoms = Atoms("Si3", [[0, 0, 0], [6.6, 0, 0], [13.4, 0, 0]])  # 2.22 Å times 3: 6.66
    np.testing.assert_array_equal(has_company(atoms, 3.0), [True, True, False])


def test_the_pressure_of_a_gas_is_that_of_its_motion():
    atoms = Atoms("Ar2", [[0, 0, 0], [10, 10, 10]], cell=[20, 20, 20], pbc=True)
    atoms.calc = LennardJones(epsilon=0.0)
    atoms.set_velocities([[0.1, 0, 0], [-0.1, 0, 0]])
    expected = 2 * atoms.get_kinetic_energy() / (3 * atoms.get_volume()) / units.GPa
    assert pressure(atoms) == pytest.approx(expected)


def test_compression_gives_a_positive_pressure():
    atoms = bulk("Cu", a=3.4, cubic=True)
    atoms.calc = EMT()
    assert pressure(atoms) > 10.0


def test_a_molecule_has_no_pressure():
    atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    atoms.calc = EMT()
    assert pressure(atoms) is None
