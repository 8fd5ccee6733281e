import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from mace_train.physics.conservation import check_nve, drift_of, nve_energies
from mace_train.physics.potential import LeftOutError

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import (
    Direct,
    Good,
    NotANumber,
    WrongSign,
    passes,
    potential_of,
    setting_of,
)


def test_a_conservative_potential_passes():
    assert passes(check_nve, Good(), nve_steps=100)


@pytest.mark.parametrize("broken", [WrongSign, Direct, NotANumber])
def test_forces_that_are_no_derivative_drift(broken):
    assert not passes(check_nve, broken(), nve_steps=100)


def test_the_drift_is_the_slope():
    times = np.linspace(0, 0.2, 50)
    assert drift_of(times, 3.0 - 0.7 * times) == pytest.approx(0.7)
    assert np.isnan(drift_of(times, np.where(times > 0.1, np.inf, 0.0)))


def test_hydrogen_halves_the_time_step():
    for atoms, step in ((bulk("Cu"), 1e-3), (molecule("H2O"), 5e-4)):
        times, energies = nve_energies(
            potential_of(Good()), atoms, steps=4, temperature=300.0
        )
        assert np.diff(times) == pytest.approx(step)
        assert len(energies) == 4


def test_the_same_seed_gives_the_same_trajectory_whatever_numpy_s_global_state_is():
    runs = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 - the state that must not matter
        runs.append(
            nve_energies(potential_of(Good()), bulk("Cu"), steps=3, temperature=300.0)
        )
    np.testing.assert_array_equal(runs[0], runs[1])


def test_a_single_atom_is_left_out():
    with pytest.raises(LeftOutError, match="more than one atom"):
        check_nve(setting_of(Good(), (molecule("H"),)))
