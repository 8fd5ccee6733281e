"""Mixed epochs: even, complete, and the same on any number of ranks."""

import numpy as np
import pytest

from mace_train.data.mixing import EvenOrder, make_order
from mace_train.data.sampler import BatchSampler, permutation


def test_every_set_gives_equally_many_frames_to_an_epoch():
    order = EvenOrder(1000, 7)
    for epoch in range(3):
        places = order.places(epoch, seed=5)
        assert len(places) == len(order) == 1007
        assert np.bincount(places >= 1000).tolist() == [504, 503]


def test_no_frame_comes_again_before_all_others_of_its_set_have_come():
    order = EvenOrder(1000, 7)
    epochs = [order.places(epoch, seed=5) for epoch in range(6)]
    stream = np.concatenate(epochs)
    large, small = stream[stream < 1000], stream[stream >= 1000] - 1000
    for frames, size in ((large, 1000), (small, 7)):
        whole = len(frames) // size * size
        rounds = np.sort(frames[:whole].reshape(-1, size), axis=1)
        assert (rounds == np.arange(size)).all()
    assert not np.array_equal(small[:7], small[7:14])


def test_sets_take_turns():
    places = EvenOrder(4, 3, 2).places(2, seed=0)
    assert np.digitize(places, [4, 7]).tolist() == [0, 1, 2] * 3


def test_a_batch_holds_the_sets_evenly():
    sampler = BatchSampler(np.ones(1007), batch_size=16, order=EvenOrder(1000, 7))
    for batch in list(sampler)[:-1]:
        assert sum(frame < 1000 for frame in batch) == 8


def test_a_set_without_frames_takes_no_turn():
    assert sorted(EvenOrder(3, 0, 3).places(0, seed=0).tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("mixing", ["size", "even"])
def test_an_epoch_depends_on_seed_and_epoch_alone(mixing):
    order = make_order(mixing, [30, 5])
    again = make_order(mixing, [30, 5])
    order.places(3, seed=1)
    assert np.array_equal(order.places(2, seed=1), again.places(2, seed=1))
    assert not np.array_equal(order.places(2, seed=1), order.places(3, seed=1))
    assert not np.array_equal(order.places(2, seed=1), order.places(2, seed=2))


def test_by_size_every_frame_comes_once_in_the_order_of_one_set():
    assert np.array_equal(
        make_order("size", [30, 5]).places(2, seed=1), permutation(35, 1, 2)
    )


def test_global_batches_do_not_depend_on_the_number_of_ranks():
    costs = np.arange(1, 38)

    def ranks(world_size):
        return [
            BatchSampler(
                costs, batch_size=8, rank=rank, world_size=world_size, seed=4,
                order=EvenOrder(30, 7),
            )
            for rank in range(world_size)
        ]  # fmt: skip

    (alone,), several = ranks(1), ranks(3)
    for number, expected in enumerate(alone):
        together = [frame for rank in several for frame in rank.batch_of(number)]
        assert sorted(together) == sorted(expected)


def test_an_even_epoch_is_gone_on_with_where_it_was_left():
    def sampler(**options):
        return BatchSampler(np.ones(37), batch_size=8, order=EvenOrder(30, 7), **options)

    whole = sampler()
    whole.set_epoch(2)
    batches = list(whole)
    after = sampler()
    after.load_state_dict(whole.state_dict(batches_done=3))
    after.set_epoch(2)
    assert list(after) == batches[3:]


@pytest.mark.parametrize("order", [EvenOrder(29, 8), make_order("size", [30, 7]), None])
def test_another_mixture_cannot_be_gone_on_with(order):
    before = BatchSampler(np.ones(37), batch_size=8, order=EvenOrder(30, 7))
    after = BatchSampler(np.ones(37), batch_size=8, order=order)
    with pytest.raises(ValueError, match=r"(mixing|set_sizes) was .* and is now"):
        after.load_state_dict(before.state_dict(batches_done=1))


@pytest.mark.parametrize("mixing", ["size", "even"])
def test_no_frames_at_all_are_refused(mixing):
    with pytest.raises(ValueError, match="no frames"):
        make_order(mixing, [0, 0])
