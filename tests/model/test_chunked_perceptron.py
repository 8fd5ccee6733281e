from itertools import pairwise

import pytest
import torch
import twice_differentiable as laws

from mace_train.model import chunked_perceptron
from mace_train.model.chunked_perceptron import hidden_layers
from mace_train.model.neighborhoods import GradientScope

SIZES = [(3, 4), (3, 4, 4), (3, 5, 2, 4)]


def operation(inputs, *matrices):
    return hidden_layers(inputs, matrices, GradientScope())


def reference(inputs, *matrices):
    hidden = inputs
    for matrix in matrices:
        z = hidden @ matrix
        hidden = z / (1 + torch.exp(-z))
    return hidden


def inputs_for(sizes, num_pairs=7):
    shapes = [(num_pairs, sizes[0]), *pairwise(sizes)]
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of two or three pairs."""
    monkeypatch.setattr(chunked_perceptron, "_CHUNK_FLOATS", 12)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_derivatives_are_those_of_a_perceptron(sizes):
    laws.check_agreement(operation, reference, inputs_for(sizes))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_derivatives_are_those_of_finite_differences(sizes):
    laws.check_derivatives(operation, inputs_for(sizes, num_pairs=4))


@pytest.mark.parametrize("floats", [1, 15, 2**20])
def test_the_size_of_chunks_does_not_matter(floats, monkeypatch):
    inputs = inputs_for((3, 4, 4), num_pairs=11)
    expected = laws.derivatives(operation, inputs)
    monkeypatch.setattr(chunked_perceptron, "_CHUNK_FLOATS", floats)
    for one, other in zip(laws.derivatives(operation, inputs), expected, strict=True):
        laws.assert_same(one, other)


def test_large_values_neither_overflow_nor_lose_their_derivative():
    inputs = torch.tensor([[-800.0], [-30.0], [0.0], [30.0], [800.0]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    found = laws.derivatives(operation, [inputs, one])
    assert all(torch.isfinite(tensor).all() for tensor in found)
    torch.testing.assert_close(found[0], inputs.clamp(min=0), atol=1e-10, rtol=1e-10)
    (slope,) = torch.autograd.grad(operation(inputs.requires_grad_(), one).sum(), inputs)
    expected = torch.tensor([[0.0], [0.0], [0.5], [1.0], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(slope, expected, atol=1e-10, rtol=0)


def test_third_derivatives_raise():
    laws.check_third_derivatives_raise(operation, inputs_for((3, 4, 4)))


def test_gradients_by_parameters_are_left_out_where_not_wanted():
    def operation_in(parameters):
        return lambda x, *matrices: hidden_layers(x, matrices, GradientScope(parameters))

    laws.check_scope(operation_in, inputs_for((3, 4, 4)), parameters=[1, 2])


def test_no_pairs_have_no_values_and_parameters_no_gradient():
    _, *matrices = inputs_for((3, 4, 4))
    empty = torch.zeros(0, 3, dtype=torch.float64)
    for found in laws.derivatives(operation, [empty, *matrices]):
        assert not found.any()


def test_no_layers_give_back_their_input():
    (inputs,) = inputs_for((3,))
    assert operation(inputs) is inputs
