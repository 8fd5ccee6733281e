import pytest

from mace_train.simulation.settings import MDSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relaxation": 0.0}, "relaxation=0.0: give a number above 0"),
        ({"log_every": 0}, "log_every=0"),
        ({"frame_every": -5}, "frame_every=-5"),
        ({"seed": -1}, "seed=-1: give 0 or more"),
        ({"relaxation": float("nan")}, "relaxation=nan"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MDSettings(**changes)


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_thermostat_is_named():
    with pytest.raises(Exception, match="andersen"):
        MDSettings(thermostat="andersen")
