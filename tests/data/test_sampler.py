"""Batches: every frame once an epoch, ranks equally loaded, and all of it reproducible."""

import time

import numpy as np
import pytest
from made_stores import SHARED_DATA

from mace_train.data.labels import LabelKeys
from mace_train.data.prepare import prepare_shards
from mace_train.data.sampler import BatchSampler, deal, permutation
from mace_train.data.store import FrameStore


def mptrj_like_costs(count, seed=0):
    """Edges a frame with the published quantiles of MPtrj: median 1,346, p90 near 4,200."""
    generator = np.random.default_rng(seed)
    return np.minimum(generator.lognormal(np.log(1346), 0.9, count), 27_500).astype(
        np.int64
    )


def samplers(costs, world_size, **options):
    return [
        BatchSampler(costs, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("count", [1, 7, 500])
def test_every_frame_comes_exactly_once_an_epoch(world_size, count):
    ranks = samplers(mptrj_like_costs(count), world_size, batch_size=100)
    seen = [frame for sampler in ranks for batch in sampler for frame in batch]
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_rank_makes_the_same_number_of_steps(shuffle):
    ranks = samplers(mptrj_like_costs(101), 8, batch_size=16, shuffle=shuffle)
    assert {len(list(sampler)) for sampler in ranks} == {len(ranks[0])} == {7}


def test_a_rank_may_have_no_frame_in_a_batch():
    ranks = samplers(np.ones(5, int), 4, batch_size=4)
    last = [list(sampler)[-1] for sampler in ranks]
    assert sorted(len(batch) for batch in last) == [0, 0, 0, 1]


def test_the_global_batch_does_not_depend_on_the_number_of_ranks():
    costs = mptrj_like_costs(300)
    alone = BatchSampler(costs, batch_size=32, seed=5)
    ranks = samplers(costs, 4, batch_size=32, seed=5)
    for number, expected in enumerate(alone):
        together = [frame for sampler in ranks for frame in sampler.batch_of(number)]
        assert sorted(together) == sorted(expected)


def test_without_shuffle_frames_come_in_order():
    sampler = BatchSampler(np.arange(10), batch_size=4, shuffle=False)
    assert list(sampler) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(("world_size", "balance"), [(8, 0.98), (64, 0.98)])
def test_ranks_carry_nearly_equal_edges(world_size, balance):
    costs = mptrj_like_costs(40_000)
    sampler = BatchSampler(costs, batch_size=16 * world_size, world_size=world_size)
    order, ranks = sampler.epoch_plan()
    loads = [(costs[order] * (ranks == rank)).sum(axis=1) for rank in range(world_size)]
    assert np.sum(loads) == costs.sum()
    loads = np.stack(loads, axis=1)[:-1]  # the last batch is smaller
    assert (loads.mean(axis=1) / loads.max(axis=1)).mean() > balance


def test_dealing_gives_the_largest_first_to_the_least_loaded_rank():
    costs = np.array([[3, 9, 5, 4, -1]])
    assert deal(costs, 2).tolist() == [[0, 0, 1, 1, -1]]


@pytest.mark.parametrize(("num_ranks", "slots"), [(2, 9), (5, 40), (8, 128)])
def test_dealing_is_exact_and_ties_go_to_fewer_frames_then_to_the_first(num_ranks, slots):
    generator = np.random.default_rng(slots)
    costs = generator.integers(0, 12, (20, slots))  # small, so that ranks are often equal
    costs[:, -2:] = -1
    for row, dealt in zip(costs.tolist(), deal(costs, num_ranks).tolist()):
        loads = [(0, 0)] * num_ranks  # edges, frames
        expected = [-1] * slots
        for frame in sorted(range(slots), key=lambda frame: -row[frame]):
            if row[frame] >= 0:
                rank = min(range(num_ranks), key=lambda rank: loads[rank])
                edges, frames = loads[rank]
                loads[rank], expected[frame] = (edges + row[frame], frames + 1), rank
        assert dealt == expected


@pytest.mark.parametrize(("world_size", "plain"), [(8, 0.72), (64, 0.58)])
def test_real_frames_are_dealt_equally_where_plain_sampling_is_not(
    tmp_path, world_size, plain
):
    path = SHARED_DATA / "mptrj_random_dev.extxyz"
    if not path.exists():
        pytest.skip("needs the real MPtrj frames of ../shared/data")
    report = prepare_shards([path], tmp_path, keys=LabelKeys(), r_max=[6.0])
    edges = FrameStore(report.shards).edge_counts(6.0)
    costs = np.random.default_rng(0).choice(edges, 100 * 16 * world_size)
    sampler = BatchSampler(costs, batch_size=16 * world_size, world_size=world_size)
    order, ranks = sampler.epoch_plan()
    loads = [(costs[order] * (ranks == rank)).sum(axis=1) for rank in range(world_size)]
    assert balance_of(np.stack(loads, axis=1)) >= 0.98
    shares = costs[order].reshape(100, world_size, 16).sum(axis=2)
    assert balance_of(shares) == pytest.approx(plain, abs=0.03)


def balance_of(loads):
    return (loads.mean(axis=1) / loads.max(axis=1)).mean()


def test_frames_without_edges_are_spread_over_ranks():
    assert sorted(deal(np.zeros((1, 4), int), 4)[0].tolist()) == [0, 1, 2, 3]


def test_epochs_differ_and_repeat_themselves():
    costs = mptrj_like_costs(50)
    first, second = (BatchSampler(costs, batch_size=8, seed=1) for _ in range(2))
    epoch_0 = list(first)
    first.set_epoch(1)
    assert list(first) != epoch_0
    second.set_epoch(1)
    assert list(first) == list(second)
    first.set_epoch(0)
    assert list(first) == epoch_0
    assert list(BatchSampler(costs, batch_size=8, seed=2)) != epoch_0


def test_the_order_is_the_same_with_any_version_of_numpy():
    assert permutation(8, 0, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert sorted(permutation(1000, 3).tolist()) == list(range(1000))


def test_lightning_finds_set_epoch():
    sampler = BatchSampler(np.ones(4), batch_size=2)
    sampler.sampler.set_epoch(3)
    assert sampler.epoch == 3


@pytest.mark.parametrize("world_size", [1, 3])
def test_an_epoch_is_gone_on_with_where_it_was_left(world_size):
    costs = mptrj_like_costs(90)
    before = samplers(costs, 2, batch_size=8, seed=3)
    for sampler in before:
        sampler.set_epoch(4)
    used = [f for s in before for number in range(5) for f in s.batch_of(number)]
    state = before[0].state_dict(batches_done=5)

    after = samplers(costs, world_size, batch_size=8, seed=3)
    for sampler in after:
        sampler.load_state_dict(state)
        sampler.set_epoch(4)  # as Lightning does when it begins
    rest = [frame for sampler in after for batch in sampler for frame in batch]
    assert sorted(used + rest) == list(range(90))
    whole_epoch_again = [frame for sampler in after for batch in sampler for frame in batch]
    assert sorted(whole_epoch_again) == list(range(90))


def test_a_new_epoch_begins_at_its_beginning():
    sampler = BatchSampler(np.ones(10), batch_size=2)
    sampler.load_state_dict(sampler.state_dict(batches_done=3))
    sampler.set_epoch(1)
    assert len(list(sampler)) == 5


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"batch_size": 4}, {"costs": np.ones(11)}, {"shuffle": False}]
)
def test_another_order_cannot_be_gone_on_with(changed):
    options = {"costs": np.ones(10), "batch_size": 2, "seed": 0, "shuffle": True}
    state = BatchSampler(**options).state_dict(batches_done=1)
    name = {"costs": "num_frames"}.get(next(iter(changed)), next(iter(changed)))
    with pytest.raises(ValueError, match=f"{name} was .* and is now"):
        BatchSampler(**(options | changed)).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"costs": np.ones(0)}, "no frames"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank 2 is not one of 2"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BatchSampler(**({"costs": np.ones(3), "batch_size": 1} | options))


def test_an_epoch_of_all_mptrj_is_planned_in_a_few_seconds():
    sampler = BatchSampler(mptrj_like_costs(1_580_395), batch_size=1024, world_size=64)
    begin = time.process_time()
    sampler.epoch_plan()
    assert time.process_time() - begin < 5  # about 1 s on an idle core
