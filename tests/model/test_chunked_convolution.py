"""The fast convolution as `Convolution` calls it, against the equation of the paper."""

import math

import pytest
import torch
import twice_differentiable as laws
from made_neighborhoods import GRAPHS, some_neighborhoods

from mace_train.model import convolution_chunks
from mace_train.model.convolution import Convolution
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.wigner import wigner_3j

CHANNELS, HIDDEN = 2, 2
MATRIX = 2  # place of the parameters among the inputs


@pytest.fixture
def edges():
    return some_neighborhoods()


@pytest.fixture
def convolution():
    return Convolution(Layout(CHANNELS, (0, 1)), 1)


def operation_of(convolution, edges):
    return lambda *inputs: tuple(convolution(*inputs, edges, backend="chunked"))


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


def reference_of(convolution, edges):
    """Clebsch-Gordan, radial weights, harmonics and senders under plain autograd."""

    def convolved(features, hidden, matrix, harmonics):
        pair, sign = edges.tables.edge_pair, edges.tables.edge_sign[:, None]
        weights = (hidden[pair] @ matrix).unflatten(1, (-1, CHANNELS))
        blocks = convolution.layout.split(features)
        of_degree = dict(zip(convolution.layout.degrees, blocks))
        messages = [[] for _ in range(convolution.max_ell + 1)]
        for index, path in enumerate(convolution.paths):
            l1, l2, l3 = path.degrees
            symbol = torch.from_numpy(wigner_3j(l1, l2, l3)) * math.sqrt(2 * l3 + 1)
            y = harmonics[pair, l2**2 : (l2 + 1) ** 2] * sign**l2
            senders = of_degree[l1][:, edges.sender]
            message = torch.einsum(
                "abc,aek,eb,ek->eck", symbol, senders, y, weights[:, index]
            )
            messages[l3].append(edges.sum_to_receivers(message).transpose(0, 1))
        return [torch.cat(parts, dim=2) for parts in messages]

    return convolved


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a row or two."""
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", 50)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("degrees", "max_ell"), [((0,), 2), ((0, 1), 3), ((0, 1, 2), 2)])
def test_values_and_derivatives_are_those_of_the_equation(degrees, max_ell, edges):
    convolution = Convolution(Layout(CHANNELS, degrees), max_ell)
    operation, reference = (f(convolution, edges) for f in (operation_of, reference_of))
    laws.check_agreement(operation, reference, inputs_for(convolution, edges))


def test_derivatives_are_those_of_finite_differences(convolution, edges):
    laws.check_derivatives(operation_of(convolution, edges), inputs_for(convolution, edges))


@pytest.mark.parametrize("floats", [1, 100, 2**25])
def test_the_size_of_chunks_does_not_matter(floats, convolution, edges, monkeypatch):
    inputs = inputs_for(convolution, edges)
    expected = laws.derivatives(operation_of(convolution, edges), inputs)
    monkeypatch.setattr(convolution_chunks, "_CHUNK_FLOATS", floats)
    found = laws.derivatives(operation_of(convolution, edges), inputs)
    for one, other in zip(found, expected, strict=True):
        laws.assert_same(one, other)


def test_inputs_may_lie_in_memory_as_they_like(convolution, edges):
    inputs = inputs_for(convolution, edges)
    expected = laws.derivatives(operation_of(convolution, edges), inputs)

    def transposed(*given):
        return operation_of(convolution, edges)(*(values.mT for values in given))

    found = laws.derivatives(transposed, [values.mT.contiguous() for values in inputs])
    for one, other in zip(found[:2], expected[:2], strict=True):
        laws.assert_same(one, other)


def test_third_derivatives_raise(convolution, edges):
    inputs = inputs_for(convolution, edges)
    laws.check_third_derivatives_raise(operation_of(convolution, edges), inputs)


def test_gradients_by_parameters_are_left_out_where_not_wanted(convolution, edges):
    def operation_in(parameters):
        edges.scope.parameters = parameters
        return operation_of(convolution, edges)

    inputs = inputs_for(convolution, edges)
    laws.check_scope(operation_in, inputs, parameters=[MATRIX])


@pytest.mark.parametrize("name", ["no edges", "no atoms"])
def test_without_neighbors_all_is_zero(name, convolution):
    edges = Neighborhoods.of(GRAPHS[name]())
    inputs = inputs_for(convolution, edges)
    for found in laws.derivatives(operation_of(convolution, edges), inputs):
        assert not found.any()
