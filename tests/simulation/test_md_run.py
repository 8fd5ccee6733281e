import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import read
from copper_runs import Springs, copper, ramp, run_in

from mace_train import MACECalculator
from mace_train.simulation.records import read_log
from mace_train.simulation.settings import MDSettings
from mace_train.simulation.state import RunState
from mace_train.simulation.trip_wires import TripWireError, TripWires

FILES = ("log.csv", "trajectory.extxyz")


def test_energy_is_conserved_without_a_thermostat_and_better_with_shorter_steps(tmp_path):
    spread = {}
    for timestep in (5.0, 2.5):
        atoms = copper()
        atoms.rattle(0.05, seed=1)
        atoms.set_momenta(np.random.default_rng(0).normal(size=(8, 3)))
        folder = tmp_path / str(timestep)
        run_in(folder, atoms, ramp("nve:0.5", timestep=timestep)).run()
        spread[timestep] = np.ptp(read_log(folder)["drift_meV_per_atom"])
    assert spread[5.0] < 1.0  # meV/atom
    assert spread[2.5] == pytest.approx(spread[5.0] / 4, rel=0.5)  # second order


@pytest.mark.parametrize("thermostat", ["rescaling", "langevin"])
def test_temperature_follows_the_schedule_while_energy_less_heat_stays(
    tmp_path, thermostat
):
    settings = MDSettings(thermostat=thermostat, relaxation=30.0)
    schedule = ramp("300:1", "300-900:1", timestep=5.0)
    run_in(tmp_path, copper((2, 2, 2)), schedule, settings=settings).run()
    log = read_log(tmp_path)
    late = (log["time_ps"] > 0.4) & (log["time_ps"] <= 1.0)
    assert log["temperature_K"][late].mean() == pytest.approx(300, rel=0.15)
    ramp_mean = log["target_K"][-10:].mean()
    assert ramp_mean > 700
    assert log["temperature_K"][-10:].mean() == pytest.approx(ramp_mean, rel=0.2)
    assert np.ptp(log["total_eV"]) > 1.0  # the heat is there ...
    assert np.abs(log["drift_meV_per_atom"]).max() < 3.0  # ... and counted


def test_rows_and_frames_are_written_where_they_are_due(tmp_path):
    run_in(tmp_path, copper(), ramp("300:0.1")).run()
    assert read_log(tmp_path)["step"].tolist() == list(range(0, 51, 5))
    frames = read(tmp_path / "trajectory.extxyz", index=":")
    assert [frame.info["step"] for frame in frames] == list(range(0, 51, 10))
    check = copper()
    check.positions = frames[-1].positions
    np.testing.assert_allclose(frames[-1].get_forces(), check.get_forces(), atol=1e-6)


def both(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


class StoppedError(Exception):
    pass


def stop_at(atoms, calls: int) -> None:
    """Let the calculator fail, as a machine that goes down does."""
    inner, count = atoms.calc.calculate, 0

    def calculate(*args, **kwargs):
        nonlocal count
        count += 1
        if count > calls:
            raise StoppedError
        inner(*args, **kwargs)

    atoms.calc.calculate = calculate


@pytest.mark.parametrize("thermostat", ["rescaling", "langevin"])
@pytest.mark.parametrize("save_minutes", [0.0, 0.5])
def test_a_broken_run_goes_on_bit_for_bit(tmp_path, thermostat, save_minutes, monkeypatch):
    ticks = (
        itertools.count()
    )  # a step looks at the clock a few times: a state every 10 or so
    monkeypatch.setattr(
        "mace_train.simulation.md_run.time.monotonic", lambda: float(next(ticks))
    )
    settings = MDSettings(thermostat=thermostat, log_every=3, frame_every=7)
    run_in(tmp_path / "whole", copper(), ramp(), settings=settings).run()
    for calls in (1, 30, 60, 85, 10**9):
        atoms = copper()
        stop_at(atoms, calls)
        try:
            run = run_in(
                tmp_path / "broken",
                atoms,
                ramp(),
                settings=settings,
                save_minutes=save_minutes,
            )
            run.run()
        except StoppedError:
            continue
    assert run.step == 150
    assert both(tmp_path / "broken") == both(tmp_path / "whole")
    states = [RunState.read(tmp_path / name / "state.npz") for name in ("whole", "broken")]
    for name in ("positions", "momenta", "forces", "heat", "rng"):
        np.testing.assert_array_equal(getattr(states[0], name), getattr(states[1], name))


def test_a_broken_run_of_a_mace_goes_on_bit_for_bit_in_float32(tmp_path, small_mace):
    def silicon() -> Atoms:
        atoms = bulk("Si", cubic=True) * (2, 1, 1)
        atoms.calc = MACECalculator(small_mace().float())
        return atoms

    wires = TripWires(min_distance=None, temperature=None, drift=None)
    schedule = ramp("900:0.12")  # hot enough to leave the skin of a neighbor list
    run_in(tmp_path / "whole", silicon(), schedule, wires=wires).run()
    for calls in (25, 40, 10**9):
        atoms = silicon()
        stop_at(atoms, calls)
        try:
            run_in(
                tmp_path / "broken", atoms, schedule, wires=wires, save_minutes=0.0
            ).run()
        except StoppedError:
            continue
    assert both(tmp_path / "broken") == both(tmp_path / "whole")


def test_the_time_limit_saves_and_the_same_command_goes_on(tmp_path):
    run_in(tmp_path / "whole", copper(), ramp()).run()
    first = run_in(tmp_path / "parts", copper(), ramp(), max_hours=1e-9)
    assert first.run() == "out of time"
    assert first.step == 1
    second = run_in(tmp_path / "parts", copper(), ramp())
    assert second.step == 1
    assert second.run() == "finished"
    assert both(tmp_path / "parts") == both(tmp_path / "whole")


def test_a_finished_run_can_be_made_longer(tmp_path):
    run_in(tmp_path / "whole", copper(), ramp("300:0.1", "nve:0.1")).run()
    run_in(tmp_path / "parts", copper(), ramp("300:0.1")).run()
    assert run_in(tmp_path / "parts", copper(), ramp("300:0.1")).run() == "finished"
    run_in(tmp_path / "parts", copper(), ramp("300:0.1", "nve:0.1")).run()
    whole, parts = read_log(tmp_path / "whole"), read_log(tmp_path / "parts")
    np.testing.assert_array_equal(whole["total_eV"], parts["total_eV"])


@pytest.mark.parametrize("stages", [("1000:0.5", "50:2"), ("50:0.5", "1000:2")])
@pytest.mark.parametrize("thermostat", ["rescaling", "langevin"])
def test_a_jump_of_the_temperature_trips_no_wire(tmp_path, stages, thermostat):
    atoms = copper((3, 3, 3))
    atoms.calc = EMT()
    settings = MDSettings(thermostat=thermostat, log_every=5, frame_every=1000)
    wires = TripWires(drift=None)
    run_in(
        tmp_path, atoms, ramp(*stages, timestep=5.0), settings=settings, wires=wires
    ).run()
    target, mean = float(stages[1].split(":")[0]), read_log(tmp_path)["temperature_K"][-40:]
    assert mean.mean() == pytest.approx(target, rel=0.25)


def test_a_run_that_is_broken_after_a_jump_goes_on_with_the_same_window(tmp_path):
    stages = ramp("900:0.1", "200:0.2")
    run_in(tmp_path / "whole", copper(), stages).run()
    stopped = copper()
    stop_at(stopped, 70)
    with pytest.raises(StoppedError):
        run_in(tmp_path / "broken", stopped, stages, save_minutes=0.0).run()
    run_in(tmp_path / "broken", copper(), stages).run()
    whole, broken = (RunState.read(tmp_path / n / "state.npz") for n in ("whole", "broken"))
    assert 200 < whole.followed == broken.followed < 900


def test_a_first_stage_of_constant_energy_is_watched_around_its_own_temperature(tmp_path):
    atoms = copper((2, 2, 2))
    width = np.sqrt(units.kB * 900.0 * atoms.get_masses())[:, None]
    atoms.set_momenta(width * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    wires = TripWires(temperature=(0.1, 1.1))
    run_in(tmp_path, atoms, ramp("nve:0.1", "100:0.02"), wires=wires).run()


def test_a_run_that_another_has_overtaken_cuts_nothing_back(tmp_path):
    run_in(tmp_path, copper(), ramp(), max_hours=1e-9).run()
    stale = run_in(tmp_path, copper(), ramp())
    assert run_in(tmp_path, copper(), ramp()).run() == "finished"
    before = both(tmp_path)
    with pytest.raises(ValueError, match="of step 150, and was of step 1 when"):
        stale.run()
    assert both(tmp_path) == before
    assert RunState.read(tmp_path / "state.npz").step == 150


def test_of_two_that_begin_in_one_folder_the_second_is_refused(tmp_path):
    first, second = (run_in(tmp_path, copper(), ramp()) for _ in range(2))
    first.run()
    before = both(tmp_path)
    with pytest.raises(ValueError, match="another run was here since"):
        second.run()
    assert both(tmp_path) == before


def test_a_run_goes_on_after_its_time_limit_by_itself(tmp_path):
    run_in(tmp_path / "whole", copper(), ramp("300:0.02")).run()
    run = run_in(tmp_path / "parts", copper(), ramp("300:0.02"), max_hours=1e-9)
    while run.run() == "out of time":
        pass
    assert both(tmp_path / "parts") == both(tmp_path / "whole")


def test_another_potential_or_setting_does_not_go_on(tmp_path):
    run_in(tmp_path, copper(), ramp()).run()
    other = copper()
    other.calc = LennardJones(sigma=2.3, epsilon=0.4)
    with pytest.raises(ValueError, match="was begun with another potential: at step 150"):
        run_in(tmp_path, other, ramp())
    with pytest.raises(ValueError, match=r"timestep is 1\.0, was 2\.0"):
        run_in(tmp_path, copper(), ramp(timestep=1.0))


def test_files_that_no_run_left_are_not_overwritten(tmp_path):
    (tmp_path / "trajectory.extxyz").write_text("somebody's precious frames " * 20)
    with pytest.raises(ValueError, match=r"holds trajectory\.extxyz but no state\.npz"):
        run_in(tmp_path, copper(), ramp())
    assert (tmp_path / "trajectory.extxyz").read_text().startswith("somebody's")


def test_atoms_without_a_calculator_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no calculator: set atoms\.calc first"):
        run_in(tmp_path, bulk("Cu", cubic=True), ramp())


def test_fixed_atoms_stay_where_they_are(tmp_path):
    atoms = copper()
    atoms.set_constraint(FixAtoms([0, 5]))
    before = atoms.get_positions()
    run_in(tmp_path, atoms, ramp("300:0.1")).run()
    moved = np.abs(atoms.positions - before).max(axis=1)
    assert moved[[0, 5]].tolist() == [0.0, 0.0]
    assert (np.delete(moved, [0, 5]) > 0).all()


class Hole(Springs):
    """A potential that pulls two atoms into each other."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        pull = self.atoms.get_distance(0, 1, vector=True, mic=True)
        self.results["forces"][0] += 3.0 * pull
        self.results["forces"][1] -= 3.0 * pull


def test_a_hole_in_the_potential_trips_a_wire_and_its_frames_are_kept(tmp_path):
    atoms = copper()
    atoms.calc = Hole(atoms)
    wires = TripWires(temperature=None, drift=None)
    run = run_in(tmp_path, atoms, ramp("300:1", timestep=1.0), wires=wires)
    with pytest.raises(TripWireError) as error:
        run.run()
    message = str(error.value)
    assert f"step {run.step} ({run.step / 1000:.4g} ps): Cu 0 and Cu 1 are" in message
    assert "The last 20 steps are in" in message
    assert "half the timestep" in message
    frames = read(tmp_path / "last_frames.extxyz", index=":")
    assert [f.info["step"] for f in frames] == list(range(run.step - 19, run.step + 1))
    distances = [frame.get_distance(0, 1, mic=True) for frame in frames]
    assert distances[-1] < 0.6 * 2 * 1.32 <= distances[-2]


class Broken(Springs):
    """Gives NaN for a force after some time."""

    calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls > 20:
            self.results["forces"][3, 1] = np.nan


def test_a_force_that_is_no_number_ends_the_run_at_its_step(tmp_path):
    atoms = copper()
    atoms.calc = Broken(atoms)
    with pytest.raises(
        TripWireError, match=r"step 20 \(0\.04 ps\): .*NaN or infinite.* Cu 3"
    ):
        run_in(tmp_path, atoms, ramp("300:1")).run()


def test_an_atom_that_flies_away_is_lost(tmp_path):
    atoms = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [1.2, 2.0, 0]])
    atoms.calc = EMT()
    speeds = np.zeros((3, 3))
    speeds[2, 1] = 0.05 / units.fs
    atoms.set_velocities(speeds)
    wires = TripWires(temperature=None, drift=None)
    with pytest.raises(TripWireError, match="1 of 3 atoms are lost, first Cu 2"):
        run_in(tmp_path, atoms, ramp("nve:5", timestep=1.0), wires=wires).run()


def test_a_timestep_that_is_too_long_trips_a_wire(tmp_path):
    with pytest.raises(TripWireError, match="timestep of 60 fs is too long"):
        run_in(tmp_path, copper(), ramp("300:10", timestep=60.0)).run()


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from copper_runs import Springs, copper, ramp, run_in
atoms = copper()
inner = atoms.calc.calculate
def slow(*args, **kwargs):
    time.sleep(0.01)
    inner(*args, **kwargs)
atoms.calc.calculate = slow
run_in({folder!r}, atoms, ramp("300:0.6", "300-900:0.6"), save_minutes=0.002).run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_bit_for_bit(tmp_path, how):
    schedule = ramp("300:0.6", "300-900:0.6")
    run_in(tmp_path / "whole", copper(), schedule).run()
    folder = tmp_path / "killed"
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(folder))
    for rows in (8, 40):
        child = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 120
        while time.monotonic() < until and child.poll() is None:
            log = folder / "log.csv"
            if log.is_file() and log.read_bytes().count(b"\n") > rows:
                break
            time.sleep(0.02)
        child.send_signal(how)
        assert child.wait() != 0  # it was in the middle
    run = run_in(folder, copper(), schedule)
    assert 0 < run.step < 600
    run.run()
    assert both(folder) == both(tmp_path / "whole")
