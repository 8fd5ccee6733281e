from dataclasses import replace

import pytest
import torch
from made_neighborhoods import GRAPHS, some_graph

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.model.neighborhoods import Neighborhoods

ELEMENTS = ElementTable((1, 8, 14))


@pytest.fixture(params=["crystal", "awkward"])
def graph(request, crystal):
    if request.param == "awkward":
        return some_graph()
    return AtomicGraph.from_atoms(crystal, elements=ELEMENTS, r_max=4.0)


def edge_vectors(graph):
    sender, receiver = graph.edge_index
    shifts = graph.unit_shifts @ graph.cell[0]
    return graph.positions[receiver] - graph.positions[sender] + shifts


def test_an_edge_has_the_vector_of_its_pair_in_its_direction(graph):
    edges = Neighborhoods.of(graph)
    assert torch.equal(torch.stack([edges.sender, edges.receiver]), graph.edge_index)
    found = edges.of_edges(edges.pair_vectors) * edges.tables.edge_sign[:, None]
    torch.testing.assert_close(found, edge_vectors(graph))


def test_the_ends_of_a_pair_are_those_of_its_edges(graph):
    edges = Neighborhoods.of(graph)
    ends = torch.stack([edges.pair_sender, edges.pair_receiver])
    ends = ends[:, edges.tables.edge_pair]
    forward = edges.tables.edge_sign > 0
    assert torch.equal(torch.where(forward, ends, ends.flip(0)), graph.edge_index)


def test_sums_go_to_receivers(graph):
    edges = Neighborhoods.of(graph)
    ones = torch.ones(graph.num_edges, 2)
    counts = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
    assert torch.equal(edges.sum_to_receivers(ones), counts[:, None].expand(-1, 2).float())


def test_tables_that_a_graph_brings_are_used(graph, monkeypatch):
    expected = Neighborhoods.of(graph)
    brought = graph.with_tables()
    monkeypatch.setattr("mace_train.index_tables.IndexTables.build", None)
    found = Neighborhoods.of(brought)
    assert found.tables is brought.tables
    assert torch.equal(found.pair_vectors, expected.pair_vectors)


def test_pairs_follow_positions_that_change_under_kept_tables(graph):
    moved = replace(graph.with_tables(), positions=graph.positions * 1.1)
    expected = Neighborhoods.of(replace(moved, tables=None))
    assert torch.equal(Neighborhoods.of(moved).pair_vectors, expected.pair_vectors)


@pytest.mark.parametrize("name", ["no edges", "no atoms"])
def test_a_graph_without_edges_has_no_pairs(name):
    edges = Neighborhoods.of(GRAPHS[name]())
    assert edges.pair_vectors.shape == (0, 3)
    assert edges.sum_to_receivers(torch.zeros(0, 2)).shape == (edges.num_nodes, 2)


def test_all_gradients_are_wanted_at_first():
    assert Neighborhoods.of(some_graph()).scope.parameters
