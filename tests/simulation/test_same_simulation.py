from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from copper_runs import a_state

from mace_train.simulation.same_simulation import (
    check_same_forces,
    check_same_run,
    settings_as_text,
)
from mace_train.simulation.schedule import TemperatureSchedule
from mace_train.simulation.settings import MDSettings

ATOMS = bulk("Cu", cubic=True)
SCHEDULE = TemperatureSchedule(["300:1"], timestep=2.0)
STATE = a_state(
    step=100,
    numbers=ATOMS.numbers,
    masses=ATOMS.get_masses(),
    cell=ATOMS.cell.array,
    pbc=ATOMS.pbc,
    settings=settings_as_text(MDSettings(), 2.0),
    forces=np.full((4, 3), 1.0),
    positions=ATOMS.positions,
    momenta=np.zeros((4, 3)),
    company=np.ones(4, dtype=bool),
)


def check(atoms=ATOMS, settings=None, schedule=SCHEDULE) -> None:
    settings = settings_as_text(settings or MDSettings(), schedule.timestep)
    check_same_run(
        STATE, atoms, settings=settings, schedule=schedule, folder=Path("runs/md")
    )


def test_the_same_run_and_a_longer_one_go_on():
    check()
    check(schedule=TemperatureSchedule(["300:0.5", "300:2", "nve:1"], timestep=2.0))


def test_everything_that_differs_is_named_at_once():
    other = bulk("Au", cubic=True)
    with pytest.raises(ValueError, match="runs/md holds another run") as error:
        check(
            other,
            MDSettings(seed=1, thermostat="langevin"),
            TemperatureSchedule(["400:1"], timestep=1.0),
        )
    for part in (
        "timestep is 1.0, was 2.0",
        "seed is 1, was 0",
        "thermostat is langevin, was rescaling",
        "Au4 are other atoms than the 4 of the run",
        "cell or its periodic directions differ",
        "the stages are 400:1, were 300:1, and differ in the 100 steps",
        "or another folder",
    ):
        assert part in str(error.value)


def test_other_masses_are_another_run():
    heavy = ATOMS.copy()
    heavy.set_masses([70.0] * 4)
    with pytest.raises(ValueError, match="the masses differ"):
        check(heavy)


def test_another_potential_is_told_by_its_forces():
    check_same_forces(STATE, STATE.forces + 1e-5, Path("runs/md"))
    with pytest.raises(
        ValueError,
        match=r"another potential: at step 100 .* by up to 0\.01 eV/Å.*another folder",
    ):
        check_same_forces(STATE, STATE.forces + 0.01, Path("runs/md"))
