import pytest
import torch
from torch.autograd.function import Function

from mace_train.model.last_derivative import last_derivative


class Cube(Function):
    """x^3 with a first and a second derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, by_y):
        return Slope.apply(*ctx.saved_tensors, by_y)


class Slope(Function):
    @staticmethod
    def forward(ctx, x, by_y):
        ctx.save_for_backward(x, by_y)
        return 3 * x**2 * by_y

    @staticmethod
    @last_derivative
    def backward(ctx, direction):
        x, by_y = ctx.saved_tensors
        return 6 * x * by_y * direction, 3 * x**2 * direction


def test_two_derivatives_are_right():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(Cube.apply, [x])


@pytest.mark.parametrize("way", ["grad", "backward"])
def test_a_third_raises_also_along_constant_directions_and_beside_other_terms(way):
    x = torch.randn(5, requires_grad=True)
    (slope,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    torch.testing.assert_close(curvature, 6 * x)
    total = curvature.sum() + x.square().sum()
    with pytest.raises(RuntimeError, match=r"no third derivatives: set model\.backend"):
        total.backward() if way == "backward" else torch.autograd.grad(total, x)


def test_a_second_derivative_that_is_not_kept_holds_no_graph():
    x = torch.randn(5, requires_grad=True)
    (slope,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert not curvature.requires_grad
