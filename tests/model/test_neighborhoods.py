import pytest
import torch

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.model.neighborhoods import Neighborhoods

ELEMENTS = ElementTable((1, 8, 14))


@pytest.fixture
def graph(crystal):
    return AtomicGraph.from_atoms(crystal, elements=ELEMENTS, r_max=4.0)


def shuffled(graph):
    order = torch.randperm(graph.num_edges)
    return AtomicGraph(
        **{
            **vars(graph),
            "edge_index": graph.edge_index[:, order],
            "unit_shifts": graph.unit_shifts[order],
        }
    )


def real_edges(edges):
    """Sorted (sender, receiver, vector) of the edges within reach."""
    near = edges.edge_vectors.norm(dim=1) < 50
    table = [edges.sender[:, None], edges.receiver[:, None], edges.edge_vectors]
    return sorted(torch.cat(table, dim=1)[near].tolist())


def test_all_edges_are_there_once_with_their_vectors(graph):
    edges = Neighborhoods.of(graph)
    sender, receiver = graph.edge_index
    vectors = graph.positions[receiver] - graph.positions[sender]
    vectors = vectors + graph.unit_shifts @ graph.cell[0]
    expected = torch.cat([sender[:, None], receiver[:, None], vectors], dim=1)
    found = torch.tensor(real_edges(edges))
    torch.testing.assert_close(found, torch.tensor(sorted(expected.tolist())))


def test_a_block_has_one_receiver(graph):
    edges = Neighborhoods.of(graph)
    receivers = edges.receiver.view(-1, edges.block_size)
    assert (receivers == edges.block_receiver[:, None]).all()


def test_the_order_of_edges_does_not_matter(graph):
    expected = torch.tensor(real_edges(Neighborhoods.of(graph)))
    found = torch.tensor(real_edges(Neighborhoods.of(shuffled(graph))))
    torch.testing.assert_close(found, expected)


def test_empty_slots_hold_edges_beyond_every_cutoff(graph):
    edges = Neighborhoods.of(graph)
    lengths = edges.edge_vectors.norm(dim=1)
    empty = lengths > 4.0
    assert int(empty.sum()) == edges.sender.shape[0] - graph.num_edges > 0
    assert (lengths[empty] > 6).all()
    assert (edges.sender[empty] == edges.receiver[empty]).all()


def test_sums_go_to_receivers(graph):
    edges = Neighborhoods.of(graph)
    real = (edges.edge_vectors.norm(dim=1) < 4.0).double()
    counts = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).double()
    torch.testing.assert_close(edges.sum_to_receivers(real), counts)
    in_blocks = real.view(-1, edges.block_size).sum(1)
    torch.testing.assert_close(edges.sum_blocks(in_blocks), counts)


def test_a_graph_without_edges_has_no_neighborhoods():
    edges = Neighborhoods.of(AtomicGraph.empty())
    assert edges.edge_vectors.shape == (0, 3)
    assert edges.sum_to_receivers(torch.zeros(0, 2)).shape == (0, 2)
