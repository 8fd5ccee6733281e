"""The convolution of the first layer, against the sum over single neighbors."""

import pytest
import torch
import twice_differentiable as laws
from made_neighborhoods import GRAPHS, NUM_ELEMENTS, some_neighborhoods

from mace_train.model import convolution_chunks
from mace_train.model.convolution import Convolution
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods

CHANNELS, HIDDEN = 3, 2
TABLE, MATRIX = 0, 2  # places of the parameters among the inputs


@pytest.fixture
def edges():
    return some_neighborhoods()


def convolution_to(max_ell):
    return Convolution(Layout(CHANNELS, (0,)), max_ell, alike_by_element=True)


def operation_of(convolution, edges):
    """The convolution of features that a table of elements gives."""

    def convolved(table, *inputs):
        features = table.index_select(0, edges.element_index)[None]
        return tuple(convolution(features, *inputs, edges, backend="chunked"))

    return convolved


def inputs_for(convolution, edges):
    num_pairs = len(edges.pair_sender)
    return [
        torch.randn(shape, dtype=torch.float64)
        for shape in (
            (NUM_ELEMENTS, CHANNELS),
            (num_pairs, HIDDEN),
            (HIDDEN, convolution.num_weights),
            (num_pairs, (convolution.max_ell + 1) ** 2),
        )
    ]


def reference_of(convolution, edges):
    """Scalars couple with each degree by 1: a sum of radial weight, harmonic, feature."""

    def convolved(table, hidden, matrix, harmonics):
        pair, sign = edges.tables.edge_pair, edges.tables.edge_sign[:, None]
        weights = (hidden[pair] @ matrix).split(CHANNELS, dim=1)
        senders = table[edges.element_index[edges.sender]]
        messages = []
        for degree in range(convolution.max_ell + 1):
            y = harmonics[pair, degree**2 : (degree + 1) ** 2] * sign**degree
            message = torch.einsum("em,ek,ek->emk", y, weights[degree], senders)
            messages.append(edges.sum_to_receivers(message).transpose(0, 1))
        return messages

    return convolved


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a row or two."""
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", 2 * 256)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("max_ell", [0, 1, 3])
def test_values_and_derivatives_are_those_of_the_sum_over_neighbors(max_ell, edges):
    convolution = convolution_to(max_ell)
    operation, reference = (f(convolution, edges) for f in (operation_of, reference_of))
    laws.check_agreement(operation, reference, inputs_for(convolution, edges))


def test_derivatives_are_those_of_finite_differences(edges):
    convolution = convolution_to(1)
    laws.check_derivatives(operation_of(convolution, edges), inputs_for(convolution, edges))


@pytest.mark.parametrize("floats", [1, 5 * 256, 2**25])
def test_the_size_of_chunks_does_not_matter(floats, edges, monkeypatch):
    convolution = convolution_to(2)
    inputs = inputs_for(convolution, edges)
    expected = laws.derivatives(operation_of(convolution, edges), inputs)
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", floats)
    found = laws.derivatives(operation_of(convolution, edges), inputs)
    for one, other in zip(found, expected, strict=True):
        laws.assert_same(one, other)


def test_third_derivatives_raise(edges):
    convolution = convolution_to(1)
    inputs = inputs_for(convolution, edges)
    laws.check_third_derivatives_raise(operation_of(convolution, edges), inputs)


def test_gradients_by_parameters_are_left_out_where_not_wanted(edges):
    """Those by the element's features too: they are made of parameters alone."""
    convolution = convolution_to(1)

    def operation_in(parameters):
        edges.scope.parameters = parameters
        return operation_of(convolution, edges)

    inputs = inputs_for(convolution, edges)
    laws.check_scope(operation_in, inputs, parameters=[TABLE, MATRIX])


@pytest.mark.parametrize("name", ["no edges", "no atoms"])
def test_without_neighbors_all_is_zero(name):
    convolution, edges = convolution_to(1), Neighborhoods.of(GRAPHS[name]())
    inputs = inputs_for(convolution, edges)
    for found in laws.derivatives(operation_of(convolution, edges), inputs):
        assert not found.any()
