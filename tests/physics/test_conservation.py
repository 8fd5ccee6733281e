import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes

from mace_train.physics.conservation import check_nve, drift_of, nve_energies
from mace_train.physics.limits import limits_for
from mace_train.physics.potential import LeftOutError
from mace_train.physics.structures import enlarged

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


class Springs(Calculator):
    """Every atom is held by an exact spring; a curl is the defect of its forces."""

    implemented_properties = ("energy", "forces")

    def __init__(self, rest, *, stiffness, curl=0.0):
        super().__init__()
        self.rest, self.stiffness, self.curl = rest, stiffness, curl

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moved = self.atoms.positions - self.rest
        forces = -self.stiffness * moved + self.curl * np.cross([0, 0, 1.0], moved)
        energy = 0.5 * self.stiffness * (moved**2).sum()
        self.results = {"energy": energy, "forces": forces}


@pytest.mark.parametrize(("name", "stiffness"), [("C", 70.0), ("CH4", 30.0)])
@pytest.mark.parametrize("steps", [20, 100, 200])
def test_stiff_springs_oscillate_but_do_not_drift_and_a_curl_of_a_percent_does(
    name, stiffness, steps
):
    """38 THz of diamond, 85 THz of a bond of hydrogen."""
    atoms = bulk("C") if name == "C" else molecule(name)
    start = enlarged(atoms).positions
    rest = start + np.random.default_rng(0).normal(scale=0.03, size=start.shape)
    drifts = []
    for curl in (0.0, 0.01 * stiffness):
        springs = potential_of(Springs(rest, stiffness=stiffness, curl=curl))
        found = nve_energies(springs, atoms, steps=steps, temperature=300.0)
        drifts.append(drift_of(*found))
    limit = limits_for("float64").nve_drift
    assert drifts[0] < limit
    assert drifts[1] > 5 * limit


def test_light_atoms_shorten_the_time_step():
    for atoms, step in ((bulk("Cu"), 1e-3), (bulk("C"), 5e-4), (molecule("H2O"), 2.5e-4)):
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
