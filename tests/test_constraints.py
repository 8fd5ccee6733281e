import math

import pytest

from mace_train.constraints import Interval


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (Interval(above=0), [1e-9, 5], [0, -1]),
        (Interval(at_least=0, below=1), [0, 0.999], [1, -0.001]),
        (Interval(at_most=4), [4, -7], [4.001]),
    ],
)
def test_an_interval_holds_the_numbers_between_its_ends(interval, inside, outside):
    assert all(number in interval for number in inside)
    assert not any(number in interval for number in outside)


def test_nan_is_in_no_interval():
    assert math.nan not in Interval()
    assert math.nan not in Interval(above=0)


def test_an_interval_is_written_as_a_reader_would():
    assert str(Interval(at_least=0, below=1)) == ">= 0 and < 1"
