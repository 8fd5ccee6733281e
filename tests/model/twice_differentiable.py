"""What an operation with hand-written derivatives owes, each check a function of it.

An operation takes float64 tensors, all of them differentiable, and gives one or several.
"""

import pytest
import torch

EXACT = 1e-12  # relative, norm-wise: the same float64 products in another order


def assert_same(found, expected, *, tolerance=EXACT, label=""):
    """Two tensors agree, norm-wise."""
    assert found.shape == expected.shape, label
    distance = float((found - expected).detach().norm())
    assert distance <= tolerance * float(expected.detach().norm()), (label, distance)


def derivatives(operation, inputs):
    """Values, gradients of a projection of them, and gradients of a projection of those."""
    generator = torch.Generator().manual_seed(5)

    def like(tensors):
        return [
            torch.randn(t.shape, generator=generator, dtype=t.dtype).requires_grad_()
            for t in tensors
        ]

    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    values = tupled(operation(*inputs))
    by_values = like(values)
    gradients = torch.autograd.grad(values, inputs, by_values, create_graph=True)
    seconds = torch.autograd.grad(
        gradients, [*inputs, *by_values], like(gradients), materialize_grads=True
    )
    return [*values, *gradients, *seconds]


def tupled(values):
    return (values,) if isinstance(values, torch.Tensor) else tuple(values)


def check_agreement(operation, reference, inputs):
    """Values, first and second derivatives are those of a formula under plain autograd."""
    found, expected = derivatives(operation, inputs), derivatives(reference, inputs)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert_same(one, other, label=place)


def check_derivatives(operation, inputs):
    """First and second derivatives are those of the values by finite differences."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(operation, inputs)
    assert torch.autograd.gradgradcheck(operation, inputs, fast_mode=True)


def check_third_derivatives_raise(operation, inputs):
    """No third derivative is taken for zero, not even along constant directions."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    values = tupled(operation(*inputs))
    total = torch.stack([value.sum() for value in values]).sum()
    for gradient in torch.autograd.grad(total, inputs, create_graph=True):
        seconds = torch.autograd.grad(
            gradient.sum(), inputs, create_graph=True, allow_unused=True
        )
        for second in seconds:
            if second is None:
                continue
            # A term with derivatives of its own must not hide that the others are missing.
            rest = sum(tensor.pow(2).sum() for tensor in inputs)
            with pytest.raises(RuntimeError, match=r"third|twice"):
                torch.autograd.grad(second.sum() + rest, inputs)


def check_scope(operation_in, inputs, *, parameters):
    """Without a wish for gradients by parameters they are left out, the others stay.

    Args:
        operation_in: Gives the operation in a scope.
        inputs: Its inputs.
        parameters: Which of them are parameters.
    """
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    expected = all_gradients(operation_in(parameters=True), inputs)
    found = all_gradients(operation_in(parameters=False), inputs)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert other is not None
        if place in parameters:
            assert one is None or not one.any()
        else:
            assert torch.equal(one, other)


def all_gradients(operation, inputs):
    values = tupled(operation(*inputs))
    total = torch.stack([value.square().sum() for value in values]).sum()
    return torch.autograd.grad(total, inputs, allow_unused=True)
