import numpy as np
import pytest

from mace_train.training.prediction_plan import (
    LEAST_EDGES,
    MOST_EDGES,
    calculator_parts,
    cut_by_edges,
    model_parts,
)


def covered(groups):
    return [place for group in groups for place in group]


@pytest.mark.parametrize("max_edges", [1, 50, 1000, None])
@pytest.mark.parametrize("max_frames", [1, 7, None])
def test_every_frame_is_in_one_group_and_no_group_is_too_large(max_edges, max_frames):
    edges = np.random.default_rng(0).integers(0, 80, 200)
    groups = cut_by_edges(edges, max_edges=max_edges, max_frames=max_frames)
    assert covered(groups) == list(range(200))
    for group in groups:
        load = edges[group.start : group.stop].sum()
        assert max_edges is None or load <= max_edges or len(group) == 1
        assert max_frames is None or len(group) <= max_frames


def test_groups_are_filled_as_far_as_they_go():
    groups = cut_by_edges(np.full(10, 10), max_edges=30)
    assert [len(group) for group in groups] == [3, 3, 3, 1]


def test_no_frames_make_no_group():
    assert cut_by_edges(np.zeros(0, np.int64), max_edges=10) == []


def test_parts_grow_with_the_work_within_their_bounds():
    few = model_parts(np.full(1000, 1000))
    assert [len(part) for part in few] == [LEAST_EDGES // 1000] * 10
    many = model_parts(np.full(100_000, 10_000))
    assert len(many) == 1000
    most = model_parts(np.full(10_000, 1_000_000))
    assert {len(part) for part in most} == {MOST_EDGES // 1_000_000}
    assert max(map(len, model_parts(np.zeros(5000, np.int64)))) == 2000


def test_a_calculator_has_small_parts():
    assert covered(calculator_parts(41)) == list(range(41))
    assert len(calculator_parts(41)) == 3
    assert calculator_parts(0) == []
