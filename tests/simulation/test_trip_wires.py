from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mace_train.simulation.observables import ClosestPair, Observables
from mace_train.simulation.trip_wires import (
    TripWireError,
    TripWires,
    check_finite,
    check_lost,
)

DOF = 186
ATOMS = Atoms("SiO", [[0, 0, 0], [1.77, 0, 0]])
CALM = Observables(
    step=1234,
    time=2.468,
    target=300.0,
    temperature=310.0,
    potential=-1.0,
    total=-0.5,
    conserved=-0.6,
    drift=0.3,
    closest=ClosestPair(0, 1, 1.6, 1.77, 1.6),
)


def check(wires: TripWires, **changes) -> None:
    wires.check(replace(CALM, **changes), ATOMS, reference=(300.0, 300.0), dof=DOF)


def test_a_calm_run_trips_nothing():
    check(TripWires())
    check(TripWires(), closest=None)


def test_atoms_too_close_are_named_with_distance_step_and_time():
    with pytest.raises(
        TripWireError,
        match=r"step 1234 \(2\.468 ps\): Si 0 and O 1 are 1\.000 Å apart, less than "
        r"min_distance=0\.6 times .* 1\.77 Å",
    ):
        check(TripWires(), closest=ClosestPair(0, 1, 1.0, 1.77, 1.0))


@pytest.mark.parametrize("kelvin", [5.0, 1500.0])
def test_a_temperature_outside_the_window_is_named_with_the_window(kelvin):
    with pytest.raises(
        TripWireError, match=rf"temperature is {kelvin:.0f} K, outside 28 to 973 K"
    ):
        check(TripWires(), temperature=kelvin)


def test_the_window_grants_what_few_atoms_fluctuate():
    few = {"reference": (300.0, 300.0), "dof": 3}
    TripWires().check(replace(CALM, temperature=1.0), ATOMS, **few)
    TripWires().check(replace(CALM, temperature=2000.0), ATOMS, **few)


def test_after_a_jump_the_window_spans_both_temperatures():
    jump = {"reference": (200.0, 1000.0), "dof": 10**6}
    for kelvin in (60.0, 1900.0):
        TripWires().check(replace(CALM, temperature=kelvin), ATOMS, **jump)
    with pytest.raises(TripWireError, match=r"outside 50 to 2017 K .* times 200 to 1000 K"):
        TripWires().check(replace(CALM, temperature=2100.0), ATOMS, **jump)


@pytest.mark.parametrize("drift", [12.6, -12.6])
def test_a_drift_beyond_what_is_granted_by_now_trips(drift):
    with pytest.raises(
        TripWireError, match=rf"changed by {drift} meV/atom, more than 12\.5"
    ):
        check(TripWires(), drift=drift)
    check(TripWires(drift_rate=2.0), drift=drift)


def test_a_wire_that_is_none_is_not_watched():
    wires = TripWires(min_distance=None, temperature=None, drift=None, lost=None)
    check(wires, closest=ClosestPair(0, 1, 0.1, 1.77, 0.1), temperature=1e6, drift=1e6)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_distance": 1.2}, "min_distance=1.2: give a share"),
        ({"min_distance": 0.0}, "min_distance=0.0: give a share"),
        ({"temperature": (1.5, 2.0)}, r"temperature=\(1.5, 2.0\): give one factor below"),
        ({"drift": -1.0}, "drift=-1.0: give a number above 0, or None"),
        ({"lost": float("nan")}, "lost=nan"),
        ({"drift_rate": -0.1}, "drift_rate=-0.1: give 0 or more"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        TripWires(**limits)


def with_results(energy: float) -> Atoms:
    atoms = ATOMS.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return atoms


def test_the_first_atom_with_a_number_that_is_none_is_named():
    forces = np.zeros((2, 3))
    check_finite(7, 0.014, with_results(-1.0), forces)
    forces[1, 2] = np.nan
    with pytest.raises(
        TripWireError, match=r"step 7 \(0\.014 ps\): force.* 1 of 2 .*of O 1"
    ):
        check_finite(7, 0.014, with_results(-1.0), forces)


def test_an_energy_that_is_no_number_is_named():
    with pytest.raises(TripWireError, match="the energy is inf"):
        check_finite(7, 0.014, with_results(float("inf")), np.zeros((2, 3)))


def test_a_lost_atom_is_named():
    check_lost(CALM, ATOMS, np.array([False, False]), reach=3.0)
    with pytest.raises(
        TripWireError, match=r"1 of 2 atoms are lost, first O 1: .*lost=3 times"
    ):
        check_lost(CALM, ATOMS, np.array([False, True]), reach=3.0)
