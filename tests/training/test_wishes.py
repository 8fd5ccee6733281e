import pytest
import torch

from mace_train.training.wishes import RunStoppedError, Wishes


def exchange(*ranks):
    sums = sum(rank.numbers("cpu") for rank in ranks)
    for rank in ranks:
        rank.hear(sums)


def test_a_wish_to_save_is_heard_by_all_and_fulfilled_once():
    first, second = Wishes(), Wishes()
    second.save = True
    exchange(first, second)
    assert first.agreed_save
    assert second.agreed_save
    assert not first.agreed_stop
    exchange(first, second)
    assert not first.agreed_save
    assert not second.agreed_save


def test_who_stops_saves_too():
    first, second = Wishes(), Wishes()
    first.stop = "SIGTERM"
    exchange(first, second)
    assert second.agreed_stop
    assert second.agreed_save
    with pytest.raises(RunStoppedError, match="SIGTERM"):
        first.raise_if_stopped()


def test_without_a_wish_nothing_happens():
    wishes = Wishes()
    exchange(wishes)
    wishes.raise_if_stopped()
    assert not wishes.agreed_save


def test_a_late_answer_comes_one_step_later_and_once():
    wishes = Wishes(is_late=True)
    wishes.save = True
    answers = []
    for _ in range(4):
        exchange(wishes)
        answers.append(wishes.agreed_save)
    assert answers == [False, True, False, False]


def test_numbers_are_what_is_summed():
    wishes = Wishes()
    wishes.save, wishes.stop = True, "limit"
    assert torch.equal(wishes.numbers("cpu"), torch.ones(2, dtype=torch.float64))
