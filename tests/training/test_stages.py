"""The second stage, early stopping and the best epoch, without a trainer."""

import math

import pytest

from mace_train.training.loss import HuberLoss
from mace_train.training.stages import BestEpoch, EarlyStopping, Stages, StageTwo


def test_the_best_epoch_is_that_of_the_lowest_loss():
    best = BestEpoch()
    improved = [
        best.update(loss, epoch=epoch)
        for epoch, loss in enumerate([3.0, 2.0, 2.0, 4.0, 1.0])
    ]
    assert improved == [True, True, False, False, True]
    assert (best.loss, best.epoch, best.num_since) == (1.0, 4, 0)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_never_the_best(loss):
    best = BestEpoch()
    assert not best.update(loss, epoch=0)
    assert best.update(5.0, epoch=1)
    assert not best.update(loss, epoch=2)
    assert (best.loss, best.epoch, best.num_since) == (5.0, 1, 1)


def _stages(start_epoch=None, patience=None) -> Stages:
    return Stages(StageTwo(start_epoch=start_epoch), EarlyStopping(patience=patience))


def _stall(stages, count):
    for epoch in range(count + 1):
        stages.best.update(1.0, epoch=epoch)


def test_patience_counts_epochs_without_a_better_loss():
    stages = _stages(patience=3)
    _stall(stages, 2)
    assert not stages.is_finished
    stages.best.update(math.nan, epoch=9)
    assert stages.is_finished


def test_without_patience_nothing_stops():
    stages = _stages()
    _stall(stages, 1000)
    assert not stages.is_finished


def test_stage_two_is_due_from_its_epoch_on_and_once():
    stages = _stages(start_epoch=5)
    assert [stages.stage_two_is_due(epoch) for epoch in (0, 4, 5, 9)] == [
        False,
        False,
        True,
        True,
    ]
    stages.begin_stage_two()
    assert not stages.stage_two_is_due(9)
    assert not _stages().stage_two_is_due(1000)


def test_patience_leads_to_stage_two_first_and_then_to_the_end():
    stages = _stages(start_epoch=100, patience=2)
    _stall(stages, 2)
    assert stages.stage_two_is_due(3)
    assert not stages.is_finished
    stages.begin_stage_two()
    assert stages.best == BestEpoch()
    _stall(stages, 2)
    assert stages.is_finished


def test_the_loss_of_stage_two_is_the_same_kind_with_its_own_weights():
    two = StageTwo(start_epoch=1, energy_weight=7.0, forces_weight=8.0, stress_weight=9.0)
    assert two.loss(HuberLoss(huber_delta=0.5)) == HuberLoss(7.0, 8.0, 9.0, huber_delta=0.5)


def test_other_stages_go_on_from_the_state():
    one, other = _stages(start_epoch=1, patience=2), _stages(start_epoch=1, patience=2)
    one.begin_stage_two()
    _stall(one, 1)
    other.load_state_dict(one.state_dict())
    assert (other.current, other.best) == (2, one.best)
    one.best.update(0.5, epoch=7)
    assert other.best.num_since == 1  # a copy


def test_an_epoch_that_is_worse_than_the_start_is_not_the_best():
    stages = _stages()
    stages.must_beat(2.0, 20.0)
    assert stages.none_beat_start
    assert not stages.best.update(2.5, epoch=0)
    assert stages.none_beat_start
    assert stages.best.update(1.5, epoch=1)
    assert not stages.none_beat_start


def test_the_second_stage_has_a_start_of_its_own_also_after_a_resume():
    stages = _stages(start_epoch=3)
    stages.must_beat(2.0, 20.0)
    again = _stages(start_epoch=3)
    again.load_state_dict(stages.state_dict())
    again.begin_stage_two()
    assert not again.best.update(25.0, epoch=3)
    assert again.best.update(15.0, epoch=4)


def test_checkpoints_without_a_start_can_be_read():
    stages = _stages()
    state = stages.state_dict()
    del state["start_losses"]
    stages.load_state_dict(state)
    assert not stages.none_beat_start
