import numpy as np
import pytest
from copper_runs import copper, run_in

from mace_train.simulation.schedule import TemperatureSchedule
from mace_train.simulation.summary import summarize


def test_each_stage_that_was_run_has_its_numbers(tmp_path):
    schedule = TemperatureSchedule(["300:0.2", "900:0.2", "nve:0.2"], timestep=2.0)
    run_in(tmp_path, copper(), schedule).run()
    cold, hot, free = summarize(tmp_path, schedule)
    assert 150 < cold.temperature < 350 < hot.temperature < 1000
    assert [str(s.stage) for s in (cold, hot, free)] == ["300:0.2", "900:0.2", "nve:0.2"]
    assert hot.min_distance < cold.min_distance < cold.bond_length
    assert cold.bond_length == pytest.approx(3.61 / np.sqrt(2), abs=0.03)
    assert free.bonds_kept == 1.0
    assert abs(free.drift_rate) < 1.0
    assert "100.0 % kept" in str(free)


def test_stages_that_are_still_to_come_are_left_out(tmp_path):
    run_in(tmp_path, copper(), TemperatureSchedule(["300:0.1"], timestep=2.0)).run()
    longer = TemperatureSchedule(["300:0.1", "600:1"], timestep=2.0)
    assert [str(s.stage) for s in summarize(tmp_path, longer)] == ["300:0.1"]
