import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from mace_train.physics.finite_differences import (
    check_forces,
    check_stress,
    derivative,
    force_error,
    stress_error,
)
from mace_train.physics.potential import LeftOutError
from mace_train.physics.structures import distorted

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import (
    Direct,
    Good,
    NotANumber,
    OnlyTotal,
    WrongSign,
    passes,
    potential_of,
    setting_of,
)


def test_derived_forces_and_stress_pass():
    assert passes(check_forces, Good())
    assert passes(check_stress, Good())


@pytest.mark.parametrize("broken", [WrongSign, Direct, NotANumber])
def test_forces_that_are_no_derivative_fail(broken):
    assert not passes(check_forces, broken())


@pytest.mark.parametrize("broken", [WrongSign, NotANumber])
def test_a_stress_that_is_no_derivative_fails(broken):
    assert not passes(check_stress, broken())


def test_steps_for_float32_still_tell_a_percent():
    atoms = distorted(bulk("Cu"))
    for dtype, exact in (("float64", 1e-7), ("float32", 1e-3)):
        good, _ = force_error(potential_of(Good(), dtype=dtype), atoms, count=4)
        wrong, where = force_error(potential_of(Direct(), dtype=dtype), atoms, count=4)
        assert good < exact
        assert wrong > 1e-3
        assert where.startswith("atom ")


def test_six_components_find_one_that_is_wrong():
    class OneWrong(Good):
        def spoil(self, results, atoms):
            if "stress" in results:
                results["stress"][0] += 1e-3

    atoms = distorted(bulk("Cu"))
    assert stress_error(potential_of(OneWrong()), atoms) == (
        pytest.approx(1e-3, rel=1e-3),
        "xx",
    )
    assert stress_error(potential_of(OneWrong()), atoms, components=3)[0] < 1e-7


def test_one_number_that_is_nan_fails_though_others_follow():
    class OneAtom(Good):
        def spoil(self, results, atoms):
            results["forces"][0, 0] = np.nan

    class OneComponent(Good):
        def spoil(self, results, atoms):
            if "stress" in results:
                results["stress"][5] = np.nan  # the first that is compared

    assert not passes(check_forces, OneAtom())
    assert not passes(check_forces, OneAtom(), (bulk("Cu"), molecule("H2O")))
    assert not passes(check_stress, OneComponent())
    error, where = force_error(potential_of(OneAtom()), distorted(bulk("Cu")), count=4)
    assert np.isnan(error)
    assert where == "atom 0 along x"
    error, where = stress_error(potential_of(OneComponent()), distorted(bulk("Cu")))
    assert np.isnan(error)
    assert where == "xy"


def test_without_crystal_or_stress_it_is_left_out():
    with pytest.raises(LeftOutError, match="periodic in three directions"):
        check_stress(setting_of(Good(), (molecule("H2O"),)))
    with pytest.raises(LeftOutError, match="no stress"):
        check_stress(setting_of(OnlyTotal()))


def test_four_values_give_the_derivative_of_a_cubic_exactly():
    assert derivative(lambda x: 2 * x - x**2 + 5 * x**3, 0.3) == pytest.approx(2.0)
