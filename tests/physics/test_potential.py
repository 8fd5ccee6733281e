import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from mace_train.physics.potential import LeftOutError, Potential

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Good, OnlyTotal, potential_of


def test_energy_forces_and_stress_are_the_calculator_s():
    atoms = bulk("Cu", a=3.7)
    response = Potential(EMT()).respond(atoms)
    atoms.calc = EMT()
    assert response.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(response.forces, atoms.get_forces())
    np.testing.assert_array_equal(response.stress, atoms.get_stress(voigt=False))


def test_there_is_no_stress_without_three_periodic_directions_or_where_it_is_missing():
    assert potential_of(Good()).stress(molecule("H2O")) is None
    assert potential_of(OnlyTotal()).stress(bulk("Cu")) is None


def test_what_is_not_known_of_a_calculator_says_how_to_give_it():
    unknown = Potential(EMT())
    with pytest.raises(LeftOutError, match=r"give r_max=6.0 \(Å\)"):
        _ = unknown.cutoff
    with pytest.raises(LeftOutError, match="num_interactions=1"):
        _ = unknown.receptive_field
    assert Potential(EMT(), r_max=5.0, num_interactions=2).receptive_field == 10.0
    with pytest.raises(ValueError, match="r_max=-1"):
        Potential(EMT(), r_max=-1.0)


def test_a_calculator_that_gives_nothing_is_named():
    class Silent(Calculator):
        implemented_properties = ("energy",)

        def get_property(self, name, atoms=None, allow_calculation=True):
            return None

    with pytest.raises(ValueError, match="Silent gives no energy for Cu"):
        Potential(Silent()).energy(bulk("Cu"))
