import numpy as np
import pytest

from mace_train.simulation.schedule import Stage, TemperatureSchedule


@pytest.mark.parametrize(
    "text", ["300:50", "300-1500:25", "nve:0.5", "123.456789:0.123456789"]
)
def test_a_stage_is_written_as_it_is_read(text):
    assert str(Stage.parse(text)) == text
    assert Stage.parse(str(Stage.parse(text))) == Stage.parse(text)


@pytest.mark.parametrize(
    "text", ["", "300", "300:", "warm:5", "300-:5", "3.0.0:5", "-3:5", "nve-3:5x"]
)
def test_what_is_no_stage_is_named_with_the_forms_there_are(text):
    with pytest.raises(ValueError, match=r"is no stage: write 300:50 .*nve:10"):
        Stage.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:5", "temperature of 0.0 K"),
        ("300:0", "stage of 0.0 ps"),
        ("nve-300:5", "both ends"),
    ],
)
def test_impossible_stages_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Stage.parse(text)


def test_a_ramp_is_linear_and_reaches_its_end_where_the_next_stage_begins():
    schedule = TemperatureSchedule(["300-1500:4", "1500:1", "nve:1"], timestep=1.0)
    targets = [schedule.target(step) for step in (0, 1000, 3999, 4000, 4999)]
    np.testing.assert_allclose(targets, [300, 600, 1499.7, 1500, 1500])
    assert schedule.target(5000) is None
    assert schedule.target(10**6) is None
    assert schedule.num_steps == 6000
    assert str(schedule) == "300-1500:4 1500:1 nve:1"


def test_the_first_temperature_is_that_of_the_first_stage_with_a_thermostat():
    assert TemperatureSchedule(["nve:1", "250:1"], timestep=1.0).first_temperature == 250
    assert TemperatureSchedule(["nve:1"], timestep=1.0).first_temperature is None


def test_schedules_agree_until_their_steps_differ():
    short = TemperatureSchedule(["300:1", "nve:1"], timestep=2.0)
    longer = TemperatureSchedule(["300:1", "nve:2", "400:1"], timestep=2.0)
    other = TemperatureSchedule(["300:1", "400:1"], timestep=2.0)
    assert short.agrees_until(1000, longer)
    assert short.agrees_until(500, other)
    assert not short.agrees_until(501, other)
    assert not longer.agrees_until(1001, short)  # which has no such step


def test_a_schedule_needs_a_stage_a_timestep_and_stages_longer_than_it():
    with pytest.raises(ValueError, match="at least one stage"):
        TemperatureSchedule([], timestep=1.0)
    with pytest.raises(ValueError, match=r"timestep of 0\.0 fs"):
        TemperatureSchedule(["300:1"], timestep=0.0)
    with pytest.raises(ValueError, match="timestep of nan fs"):
        TemperatureSchedule(["300:1"], timestep=float("nan"))
    with pytest.raises(ValueError, match=r"300:0\.0001 is shorter than a timestep of 2 fs"):
        TemperatureSchedule(["300:0.0001"], timestep=2.0)
