"""The loops over pairs, against autograd of torch's own silu."""

import pytest
import torch

from mace_train.model.perceptron_kernels import activate, differentiate


@pytest.fixture
def layer():
    z, dot_z = torch.randn(2, 5, 3, dtype=torch.float64)
    results = [torch.full_like(z, 7.0) for _ in range(4)]
    arrays = (z, torch.sigmoid(z), dot_z, *results)
    activate(*(array.numpy() for array in arrays))
    return z.requires_grad_(), dot_z.requires_grad_(), results


def test_an_activation_comes_with_its_derivative_along_a_direction(layer):
    z, dot_z, (value, dot_value, slope, _) = layer
    expected = torch.nn.functional.silu(z)
    (first,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(slope, first)
    torch.testing.assert_close(dot_value, (first * dot_z).detach())


def test_gradients_of_both_are_those_of_autograd(layer):
    z, dot_z, (_, _, slope, curve) = layer
    by_value, by_dot_value = torch.randn(2, 5, 3, dtype=torch.float64)
    by_z, by_dot_z = torch.empty(2, 5, 3, dtype=torch.float64)
    arrays = (slope, curve, by_value, by_dot_value, by_z, by_dot_z)
    differentiate(*(array.numpy() for array in arrays))

    value = torch.nn.functional.silu(z)
    (first,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    total = (by_value * value).sum() + (by_dot_value * first * dot_z).sum()
    expected = torch.autograd.grad(total, (z, dot_z))
    torch.testing.assert_close((by_z, by_dot_z), expected)
