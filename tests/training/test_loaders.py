import numpy as np
import pytest
from pair_potential import make_frame

from mace_train.data.sampler import BatchSampler
from mace_train.training.loaders import ShareCollate, make_loader

FRAMES = [make_frame(index) for index in range(10)]
COSTS = np.array([frame.num_edges for frame in FRAMES])


def loaded(**options):
    sampler = BatchSampler(COSTS, batch_size=4, seed=1)
    return [
        [[int(i) for i in graph.labels.frame_index] for graph in share]
        for share in make_loader(FRAMES, sampler, **options)
    ]


def test_a_share_is_one_batch_unless_it_is_bounded():
    shares = loaded()
    assert [len(share) for share in shares] == [1, 1, 1]
    assert sorted(i for share in shares for part in share for i in part) == list(range(10))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_micro_batches_hold_the_same_frames_in_the_same_order(num_workers):
    cut = loaded(max_edges=100, num_workers=num_workers)
    assert max(map(len, cut)) > 1
    joined = [[[i for part in share for i in part]] for share in cut]
    assert joined == loaded()


def test_no_frames_are_an_empty_share():
    assert len(ShareCollate(5)([])) == 0
