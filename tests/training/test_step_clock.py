import pytest

from mace_train.training.step_clock import StepClock


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_waiting_computing_and_communicating_add_up_to_the_time_of_training():
    time = Time()
    clock = StepClock(now=time)
    for _ in range(3):
        time.now += 2
        clock.begin_step()
        time.now += 5
        with clock.communicating():
            time.now += 1
        clock.end_step()
        time.now += 50  # a checkpoint is written
        clock.resume()
    assert clock.seconds() == pytest.approx((6, 15, 3))
    assert clock.slowest_step == 6


def test_a_clock_goes_on_where_another_was():
    time = Time()
    clock = StepClock(now=time)
    clock.add([1.0, 2.0, 3.0])
    time.now += 1
    clock.begin_step()
    assert clock.seconds() == pytest.approx((2, 2, 3))
