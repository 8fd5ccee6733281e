import numpy as np
import pytest
from pair_potential import partly_labelled
from small_crystals import make_frame, write_frames

from mace_train.data.sampler import BatchSampler
from mace_train.graph import AtomicGraph
from mace_train.micro_batches import cut
from mace_train.training.datamodule import MACEDataModule
from mace_train.training.step_costs import Line
from mace_train.training.workload import Workload, largest_batch_per_rank, planned_samplers


def in_turn(costs, *, batch_size, ranks):
    return BatchSampler(
        np.array(costs), batch_size=batch_size, world_size=ranks, shuffle=False
    )


def test_balance_is_that_of_a_hand_computation():
    # Dealt largest first: 10 | 3+2 and 4 | 4; the last batch of one frame is not whole.
    work = Workload.of(in_turn([10, 3, 2, 4, 0, 4, 9], batch_size=3, ranks=2))
    assert np.sort(work.edges, axis=1).tolist() == [[5, 10], [4, 4], [0, 9]]
    assert work.balance == pytest.approx((7.5 / 10 + 1) / 2)
    assert work.num_steps == 3
    assert work.largest_share == 10


@pytest.mark.parametrize("max_edges", [None, 1, 60, 150, 10**6])
def test_micro_batches_are_those_that_the_loader_cuts(max_edges):
    frames = partly_labelled(14)
    sampler = in_turn([frame.num_edges for frame in frames], batch_size=7, ranks=2)
    work = Workload.of(sampler, max_edges=max_edges)
    for rank in range(2):
        sampler.rank = rank
        for step in range(2):
            share = AtomicGraph.batch([frames[place] for place in sampler.batch_of(step)])
            assert work.edges[step, rank] == share.num_edges
            assert work.parts[step, rank] == len(cut(share, max_edges=max_edges))


def test_a_step_takes_as_long_as_its_slowest_rank():
    work = Workload.of(in_turn([10, 4, 6, 6], batch_size=2, ranks=2))
    line = Line(fixed=1.0, per_edge=0.1)
    assert work.seconds(line) == pytest.approx((1 + 1.0) + (1 + 0.6))
    assert work.seconds(line, each_step=0.5) == pytest.approx(4.6)


def test_loading_adds_up_without_workers_and_is_hidden_behind_enough_of_them():
    work = Workload.of(in_turn([10, 4, 6, 6], batch_size=2, ranks=2))
    line = Line(fixed=0.0, per_edge=0.1)
    assert work.seconds(line, loading_per_edge=0.3) == pytest.approx(0.4 * 16)
    few = work.seconds(line, loading_per_edge=0.3, num_workers=2)
    assert few == pytest.approx(0.15 * 16)
    many = work.seconds(line, loading_per_edge=0.3, num_workers=3)
    assert many == pytest.approx(0.1 * 16)


def test_a_rank_without_frames_has_no_micro_batch():
    work = Workload.of(in_turn([5], batch_size=3, ranks=3))
    assert work.parts.tolist() == [[1, 0, 0]]
    assert work.parts_per_step == 1
    assert work.balance == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("max_edges", "expected"), [(9, 0), (10, 1), (39, 3), (40, 4), (10**6, 10)]
)
def test_the_largest_batch_per_rank_fits_in_every_step(max_edges, expected):
    sampler = BatchSampler(np.full(20, 10), batch_size=1, world_size=2)
    assert largest_batch_per_rank(sampler, max_edges) == expected


def test_of_very_many_frames_the_largest_one_counts():
    costs = np.append(np.full(300_000, 10), 1000)
    sampler = BatchSampler(costs, batch_size=1, world_size=4)
    assert largest_batch_per_rank(sampler, 999) == 0
    assert largest_batch_per_rank(sampler, 1000) >= 1


def test_planned_samplers_deal_as_the_run_will(tmp_path):
    path = write_frames(tmp_path / "a.xyz", [make_frame(seed) for seed in range(10)])
    datamodule = MACEDataModule(
        train=path,
        r_max=4.0,
        valid_fraction=0.2,
        batch_size=3,
        valid_batch_size=1,
        cache_dir=str(tmp_path),
    )
    datamodule.setup()
    train, valid = planned_samplers(datamodule, num_ranks=1)
    for ours, loader in (
        (train, datamodule.train_dataloader()),
        (valid, datamodule.val_dataloader()),
    ):
        assert list(ours) == list(loader.batch_sampler)
    train, valid = planned_samplers(datamodule, num_ranks=4)
    assert (train.world_size, train.batch_size) == (4, 3)
    assert (valid.world_size, valid.batch_size) == (4, 2)
