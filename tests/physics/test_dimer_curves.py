import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mace_train.physics.dimer_curves import dimer_curves, pair_name

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import AU, CU, Charged, Good, OnlyTotal, potential_of

PAIRS = [(CU, CU), (CU, AU)]
DISTANCES = np.linspace(0.5, 6.5, 61)


class Counting(Good):
    calls = 0

    def spoil(self, results, atoms):
        self.calls += 1


def alone(pair, distance):
    atoms = Atoms(pair, [[0, 0, 0], [0, 0, distance]])
    atoms.calc = Good()
    return atoms.get_potential_energy(), atoms.get_forces()[1, 2]


@pytest.mark.parametrize("calculator", [Good(), OnlyTotal()])
def test_energies_and_forces_are_those_of_each_dimer_alone(calculator):
    curves = dimer_curves(potential_of(calculator), PAIRS, DISTANCES)
    assert [curve.name for curve in curves] == ["Cu-Cu", "Cu-Au"]
    for curve in curves:
        expected = np.array([alone(curve.pair, distance) for distance in DISTANCES])
        np.testing.assert_allclose(curve.energies, expected[:, 0], atol=1e-9)
        np.testing.assert_allclose(curve.forces, expected[:, 1], atol=1e-9)


def test_dimers_out_of_reach_are_computed_together():
    calculator = Counting()
    dimer_curves(potential_of(calculator), PAIRS, DISTANCES)
    assert calculator.calls < 10


def test_dimers_that_feel_each_other_are_computed_one_by_one():
    among = dimer_curves(potential_of(Charged()), PAIRS, DISTANCES)
    for curve in among:
        single = dimer_curves(potential_of(Charged(), r_max=None), [curve.pair], DISTANCES)
        np.testing.assert_allclose(curve.energies, single[0].energies, atol=1e-12)


def test_progress_is_told_in_pairs():
    told = []
    dimer_curves(potential_of(OnlyTotal()), PAIRS, DISTANCES, tell=told.append)
    assert told[0] == "dimers: pair 1 of 2"
    assert told[-1] == "dimers: pair 2 of 2"


def test_a_pair_is_called_by_its_symbols():
    assert pair_name((14, 8)) == "Si-O"
