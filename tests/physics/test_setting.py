import sys
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from mace_train.physics.potential import LeftOutError
from mace_train.physics.setting import smallest_crystals

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Good, setting_of


def test_structures_are_distorted_once_and_sorted_by_what_a_check_needs():
    setting = setting_of(Good(), (molecule("H2O"), bulk("Cu", cubic=True), bulk("Al")))
    assert setting.distorted is setting.distorted
    assert [len(atoms) for atoms in setting.distorted] == [3, 4, 4]
    assert [len(atoms) for atoms in setting.crystals] == [1, 4]
    assert [atoms.pbc.all() for atoms in setting.periodic] == [True, True]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crystals", "three directions"),
        ("periodic", "periodic direction"),
        ("several_atoms", "more than one atom"),
    ],
)
def test_what_is_missing_is_said(name, reason):
    with pytest.raises(LeftOutError, match=reason):
        getattr(setting_of(Good(), (molecule("H"),)), name)


def test_a_structure_with_two_periodic_directions_is_no_crystal():
    slab = bulk("Cu")
    slab.pbc = [True, True, False]
    with pytest.raises(LeftOutError):
        smallest_crystals([slab])
