import sys
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from mace_train.physics.extensivity import check_far_pieces, check_supercell
from mace_train.physics.potential import LeftOutError

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Charged, Good, Squared, passes, setting_of


def test_an_extensive_potential_passes():
    assert passes(check_supercell, Good())
    assert passes(check_far_pieces, Good())
    assert passes(check_far_pieces, Good(), (molecule("H2O"), bulk("Cu")))


def test_one_that_is_not_fails():
    assert not passes(check_supercell, Squared())
    assert not passes(check_far_pieces, Squared())


def test_a_reach_beyond_the_one_given_fails():
    assert not passes(check_far_pieces, Charged())
    assert passes(check_supercell, Charged())


def test_without_cell_or_cutoff_it_is_left_out():
    with pytest.raises(LeftOutError, match="periodic"):
        check_supercell(setting_of(Good(), (molecule("H2O"),)))
    with pytest.raises(LeftOutError, match=r"give r_max=6.0 \(Å\)"):
        check_far_pieces(setting_of(Good(), r_max=None))
    with pytest.raises(LeftOutError, match="give num_interactions=1"):
        check_far_pieces(setting_of(Good(), num_interactions=None))
