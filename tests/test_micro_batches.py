import itertools
from dataclasses import fields

import pytest
import torch
from pair_potential import make_frame, partly_labelled

from mace_train.graph import AtomicGraph, Labels
from mace_train.micro_batches import MicroBatches, cut

FRAMES = [make_frame(index) for index in range(9)]
BATCH = AtomicGraph.batch(FRAMES)


def assert_same(one, other):
    for field in fields(AtomicGraph):
        if field.name not in ("labels", "tables"):
            assert torch.equal(getattr(one, field.name), getattr(other, field.name))
    for field in fields(Labels):
        assert torch.equal(
            getattr(one.labels, field.name), getattr(other.labels, field.name)
        )


@pytest.mark.parametrize("max_edges", [1, 40, 100, 250])
def test_parts_joined_again_are_the_batch(max_edges):
    parts = cut(BATCH, max_edges=max_edges)
    assert_same(AtomicGraph.batch(parts), BATCH)
    for part in parts:
        assert part.num_edges <= max_edges or part.num_graphs == 1


def test_each_part_is_as_large_as_it_may_be():
    parts = cut(BATCH, max_edges=100)
    assert len(parts) > 2
    for part, following in itertools.pairwise(parts):
        first = cut(following, max_edges=1)[0]
        assert part.num_edges + first.num_edges > 100


def test_a_part_is_the_graph_of_its_structures():
    for part, frame in zip(cut(BATCH, max_edges=1), FRAMES):
        assert_same(part, frame)


def test_a_batch_within_the_bound_is_left_alone():
    assert cut(BATCH, max_edges=None) == (BATCH,)
    assert cut(BATCH, max_edges=BATCH.num_edges) == (BATCH,)
    assert cut(FRAMES[3], max_edges=1) == (FRAMES[3],)


def test_structures_without_edges_or_labels_are_kept():
    lonely = make_frame(2)
    lonely = cut(AtomicGraph.batch([FRAMES[0], lonely]), max_edges=1)[1]
    assert lonely.num_graphs == 1
    bare = AtomicGraph.batch(
        [AtomicGraph(**{**vars(frame), "labels": None}) for frame in FRAMES[:3]]
    )
    assert [part.labels for part in cut(bare, max_edges=1)] == [None] * 3


def test_a_share_counts_its_parts_and_makes_their_tables():
    share = MicroBatches.of(BATCH, max_edges=100)
    assert len(share) == len(cut(BATCH, max_edges=100))
    assert share.num_graphs == 9
    assert share.most_edges == max(graph.num_edges for graph in share)
    assert all(graph.tables is not None for graph in share)


def test_a_share_may_be_empty():
    share = MicroBatches.of(AtomicGraph.empty())
    assert (len(share), share.num_graphs, share.most_edges) == (0, 0, 0)
    assert share.to("cpu", torch.float32) == share
    assert share.within(10) is share


def test_a_share_is_cut_again_where_that_is_needed():
    share = MicroBatches.of(AtomicGraph.batch(partly_labelled(9)))
    assert share.within(None) is share
    assert share.within(share.most_edges) is share
    smaller = share.within(60)
    assert smaller.num_graphs == 9
    assert len(smaller) > 1
    assert all(graph.num_edges <= 60 or graph.num_graphs == 1 for graph in smaller)


def test_a_share_moves_and_changes_its_type_as_one():
    share = MicroBatches.of(BATCH, max_edges=100).to("cpu", torch.float32)
    assert {graph.positions.dtype for graph in share} == {torch.float32}
    assert {graph.labels.forces.dtype for graph in share} == {torch.float32}
    assert {graph.edge_index.dtype for graph in share} == {torch.int64}
