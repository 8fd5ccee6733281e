import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mace_train.physics.structures import (
    bare_copy,
    build_structures,
    choose_structures,
    cluster,
    distorted,
    enlarged,
)


def formulas(structures):
    return [atoms.get_chemical_formula() for atoms in structures]


def test_the_smallest_crystal_comes_first_and_others_add_elements():
    frames = [
        bulk("NaCl", "rocksalt", a=5.6).repeat((2, 1, 1)),
        bulk("NaCl", "rocksalt", a=5.6),
        molecule("H2O"),
        bulk("Si"),
        bulk("Si", cubic=True),
    ]
    assert formulas(choose_structures(frames)) == ["NaCl", "H2O", "Si2"] or formulas(
        choose_structures(frames)
    ) == ["ClNa", "H2O", "Si2"]


def test_large_frames_and_lone_atoms_are_taken_only_if_there_is_nothing_else():
    large = bulk("Cu").repeat((4, 4, 4))
    assert formulas(choose_structures([large, bulk("Al"), Atoms("H")])) == ["Al"]
    assert formulas(choose_structures([large])) == ["Cu64"]
    assert formulas(choose_structures([Atoms("H")])) == ["H"]


@pytest.mark.parametrize("numbers", [[29], [1], [1, 8], [3, 8, 14], range(1, 90), [118]])
def test_crystals_are_built_of_any_elements(numbers):
    built = build_structures(numbers)
    assert 1 <= len(built) <= 3
    for atoms in built:
        assert atoms.pbc.all()
        assert set(atoms.numbers.tolist()) <= set(numbers)
        distances = distorted(atoms).get_all_distances(mic=True)
        assert distances[distances > 0].min() > 0.5


def test_a_distorted_structure_has_no_symmetry_left_and_the_original_is_as_it_was():
    atoms = bulk("Cu")
    before = atoms.positions.copy()
    moved = distorted(atoms)
    assert len(moved) == 4
    assert len(np.unique(moved.cell.lengths().round(6))) == 3
    np.testing.assert_array_equal(atoms.positions, before)
    assert distorted(molecule("H2O")).cell.volume == 0


def test_a_slab_is_repeated_in_its_plane_only():
    slab = Atoms("Cu", cell=[2.5, 2.5, 20], pbc=[True, True, False])
    larger = enlarged(slab)
    assert len(larger) == 4
    assert larger.cell.lengths().tolist() == [5.0, 5.0, 20.0]


def test_a_cluster_has_no_images_and_a_bare_copy_no_labels():
    atoms = bulk("Cu", cubic=True)
    atoms.info["energy"] = 1.0
    assert not cluster(atoms).pbc.any()
    assert not bare_copy(atoms).info


@pytest.mark.parametrize("number", [*range(1, 84), *range(89, 95)])
def test_a_crystal_is_built_of_each_element_alone(number):
    (crystal,) = build_structures([number])
    assert set(crystal.numbers.tolist()) == {number}
    assert crystal.pbc.all()
