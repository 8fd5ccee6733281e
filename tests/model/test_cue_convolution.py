"""The convolution by cuequivariance as `Convolution` calls it, against the plain one."""

from dataclasses import replace

import pytest
import torch
import twice_differentiable as laws
from made_neighborhoods import GRAPHS, some_graph, some_neighborhoods
from optional_backends import NEEDS_CUEQUIVARIANCE

from mace_train.model.convolution import Convolution
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods

pytestmark = NEEDS_CUEQUIVARIANCE
CHANNELS, HIDDEN = 2, 2


def operation_of(convolution, edges, backend):
    return lambda *inputs: tuple(convolution(*inputs, edges, backend=backend))


def inputs_for(convolution, edges):
    num_pairs = len(edges.pair_sender)
    return [
        torch.randn(shape, dtype=torch.float64)
        for shape in (
            (convolution.layout.num_components, edges.num_nodes, CHANNELS),
            (num_pairs, HIDDEN),
            (HIDDEN, convolution.num_weights),
            (num_pairs, (convolution.max_ell + 1) ** 2),
        )
    ]


def check_agreement(convolution, edges):
    operation, reference = (
        operation_of(convolution, edges, backend) for backend in ("cuequivariance", "plain")
    )
    laws.check_agreement(operation, reference, inputs_for(convolution, edges))


@pytest.mark.parametrize("degrees", [(0,), (0, 1), (0, 2)])
def test_values_and_derivatives_are_those_of_the_plain_one(degrees):
    convolution = Convolution(Layout(CHANNELS, degrees), 2)
    check_agreement(convolution, some_neighborhoods())


def test_derivatives_are_those_of_finite_differences():
    convolution, edges = Convolution(Layout(CHANNELS, (0, 1)), 1), some_neighborhoods()
    operation = operation_of(convolution, edges, "cuequivariance")
    laws.check_derivatives(operation, inputs_for(convolution, edges))


def test_one_edge_is_not_taken_for_what_all_edges_share():
    graph = some_graph()
    one = replace(
        graph, edge_index=graph.edge_index[:, :1], unit_shifts=graph.unit_shifts[:1]
    )
    check_agreement(Convolution(Layout(CHANNELS, (0, 1)), 1), Neighborhoods.of(one))


@pytest.mark.parametrize("name", ["no edges", "no atoms"])
def test_without_neighbors_all_is_zero(name):
    convolution = Convolution(Layout(CHANNELS, (0, 1)), 1)
    edges = Neighborhoods.of(GRAPHS[name]())
    operation = operation_of(convolution, edges, "cuequivariance")
    for found in laws.derivatives(operation, inputs_for(convolution, edges)):
        assert not found.any()


def test_it_adds_nothing_to_the_state_of_a_model():
    convolution, edges = Convolution(Layout(CHANNELS, (0, 1)), 1), some_neighborhoods()
    modules = len(list(convolution.modules()))
    operation_of(convolution, edges, "cuequivariance")(*inputs_for(convolution, edges))
    assert not convolution.state_dict()
    assert len(list(convolution.modules())) == modules
