import sys
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from mace_train.physics.locality import check_locality
from mace_train.physics.potential import LeftOutError

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Charged, Good, OnlyTotal, passes, setting_of


@pytest.mark.parametrize("num_interactions", [1, 2])
@pytest.mark.parametrize("structure", [bulk("Cu"), bulk("Cs"), molecule("H2O")])
def test_a_local_potential_passes(structure, num_interactions):
    options = {"num_interactions": num_interactions}
    assert passes(check_locality, Good(), (structure,), **options)


def test_an_atom_felt_from_afar_fails_in_force_and_energy():
    findings = check_locality(setting_of(Charged()))
    assert [measured.quantity for measured in findings.measurements] == [
        "force",
        "node energy",
        "force",
    ]
    assert not any(measured.is_right for measured in findings.measurements)


def test_a_cutoff_that_is_given_too_short_is_found():
    """One layer sees 6 Å, and its forces 12; whoever says 3 Å promises 6."""
    assert not passes(check_locality, Good(), r_max=3.0)


def test_without_energies_of_atoms_forces_remain():
    assert len(check_locality(setting_of(OnlyTotal())).measurements) == 2


def test_without_cutoff_it_is_left_out():
    with pytest.raises(LeftOutError, match="cutoff is not known"):
        check_locality(setting_of(Good(), r_max=None))
