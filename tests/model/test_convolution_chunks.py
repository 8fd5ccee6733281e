import numpy as np
import pytest
import torch
from made_neighborhoods import GRAPHS, some_graph

from mace_train.model import convolution_chunks
from mace_train.model.convolution_chunks import ConvolutionTask, Coupling, Gathered
from mace_train.model.neighborhoods import GradientScope

PER_EDGE = 10
DEGREES = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2])


def task_of(graph):
    coupling = Coupling(
        paths=np.zeros((1, 7), np.int64),
        matrix=torch.randn(9, 6, dtype=torch.float64),
        is_odd=DEGREES % 2 == 1,
        num_rows=1,
    )
    rows = graph.with_tables().tables.neighbors
    return ConvolutionTask(coupling, rows, GradientScope(), weights_per_edge=PER_EDGE)


@pytest.mark.parametrize("num_edges", [1, 4, 6, 10_000])
def test_chunks_are_the_rows_in_turn(num_edges, monkeypatch):
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", num_edges * PER_EDGE)
    graph = some_graph().with_tables()
    table = graph.tables.neighbors
    chunks = task_of(graph).chunks
    for name in ("receiver", "sender", "pair"):
        joined = torch.cat([getattr(chunk, name) for chunk in chunks])
        assert torch.equal(joined, getattr(table, name)), name
    lengths = torch.cat([chunk.first.diff() for chunk in chunks])
    assert torch.equal(lengths, table.first.diff())
    for chunk in chunks:
        assert chunk.first[0] == 0
        assert chunk.first[-1] == len(chunk.sender) == len(chunk.factor)
        assert len(chunk.receiver) == 1 or len(chunk.sender) <= num_edges


def test_a_chunk_is_as_long_as_fits(monkeypatch):
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", 7 * PER_EDGE)
    chunks = task_of(some_graph()).chunks
    for chunk, following in zip(chunks, chunks[1:]):  # noqa: RUF007 - chunks are not pairs
        assert len(chunk.sender) + int(following.first[1]) > 7


def test_a_factor_is_the_parity_of_the_edge():
    graph = some_graph().with_tables()
    sign = graph.tables.neighbors.sign[:, None]
    factor = torch.cat([chunk.factor for chunk in task_of(graph).chunks])
    assert torch.equal(factor, sign**DEGREES)


@pytest.mark.parametrize("name", ["no edges", "no atoms"])
def test_no_edges_make_no_chunks(name):
    assert task_of(GRAPHS[name]()).chunks == ()


def test_gradients_are_added_as_the_transpose_of_what_is_gathered(monkeypatch):
    """<y, gather x> = <sum y, x>, also for pairs that two edges share."""
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", 5 * PER_EDGE)
    graph = some_graph().with_tables()
    task, num_pairs = task_of(graph), len(graph.tables.pair_edge)
    x = [torch.randn(num_pairs, size, dtype=torch.float64) for size in (3, 9)]
    sums = tuple(map(torch.zeros_like, x))
    product = 0.0
    for chunk in task.chunks:
        given = Gathered(task, chunk, *x)
        gathered = (given.hidden, given.coupled)
        y = [torch.randn_like(values) for values in gathered]
        product += sum(float((a * b).sum()) for a, b in zip(y, gathered))
        given.add_gradients(sums, *y)
    expected = sum(float((a * b).sum()) for a, b in zip(sums, x))
    assert product == pytest.approx(expected, rel=1e-12)
