"""The hidden layers of the radial MLP, with hand-written first and second derivatives.

    h_n = silu(z_n),    z_n = h_{n-1} W_n

for a few hundred pairs at a time, so that a chunk's arrays stay in cache. The inputs z of
all activations are kept; everything else is made anew from them.
"""
# Gradients have names here, and autograd calls by position:
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function
from torch.nn.functional import silu

from mace_train.model.last_derivative import last_derivative
from mace_train.model.neighborhoods import GradientScope
from mace_train.model.perceptron_kernels import activate, differentiate

_CHUNK_FLOATS = 2**16  # pairs x hidden


def hidden_layers(
    inputs: Float[Tensor, "pairs inputs"],
    matrices: Sequence[Float[Tensor, "_ _"]],
    scope: GradientScope,
) -> Float[Tensor, "pairs hidden"]:
    """Output of the last hidden layer, differentiable twice.

    Args:
        inputs: Radial basis.
        matrices: W of each hidden layer.
        scope: Which gradients a backward pass is for.
    """
    return _Perceptron.apply(scope, inputs, *matrices) if matrices else inputs


class _Perceptron(Function):
    @staticmethod
    def forward(
        ctx: Any, scope: GradientScope, inputs: Tensor, *matrices: Tensor
    ) -> Tensor:
        before = [inputs.new_empty(len(inputs), matrix.shape[1]) for matrix in matrices]
        hidden = torch.empty_like(before[-1])
        for pairs in _chunks(before):
            values = inputs[pairs]
            for matrix, z in zip(matrices, before):
                values = silu(torch.mm(values, matrix, out=z[pairs]))
            hidden[pairs] = values
        ctx.scope, ctx.num_layers = scope, len(matrices)
        ctx.save_for_backward(inputs, *matrices, *before)
        return hidden

    @staticmethod
    def backward(ctx: Any, by_hidden: Tensor) -> tuple[Tensor | None, ...]:
        wants = any(ctx.needs_input_grad[2:]) and ctx.scope.parameters
        gradients = _FirstDerivative.apply(
            ctx.num_layers, wants, by_hidden, *ctx.saved_tensors
        )
        return None, *gradients


class _FirstDerivative(Function):
    """Gradient of <by_hidden, hidden> by the inputs and matrices."""

    @staticmethod
    def forward(
        ctx: Any, num_layers: int, wants_matrices: bool, *given: Tensor
    ) -> tuple[Tensor | None, ...]:
        by_hidden, inputs, *rest = given
        matrices, before = rest[:num_layers], rest[num_layers:]
        by_inputs = torch.empty_like(inputs)
        by_matrices = [torch.zeros_like(matrix) for matrix in matrices]
        for pairs in _chunks(before):
            gradient = by_hidden[pairs]
            for n in reversed(range(num_layers)):
                gradient = torch.ops.aten.silu_backward(gradient, before[n][pairs])
                if wants_matrices:
                    below = inputs[pairs] if n == 0 else silu(before[n - 1][pairs])
                    by_matrices[n].addmm_(below.T, gradient)
                gradient = gradient @ matrices[n].T
            by_inputs[pairs] = gradient
        ctx.num_layers = num_layers
        ctx.save_for_backward(*given)
        return by_inputs, *(by_matrices if wants_matrices else [None] * num_layers)

    @staticmethod
    @last_derivative
    def backward(
        ctx: Any, dot_inputs: Tensor, *dot_matrices: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradient of the first derivative along a direction (the arguments)."""
        num_layers = ctx.num_layers
        by_hidden, inputs, *rest = (tensor.detach() for tensor in ctx.saved_tensors)
        matrices, before = rest[:num_layers], rest[num_layers:]
        by_inputs, dot_hidden = torch.empty_like(inputs), torch.empty_like(by_hidden)
        by_matrices = [torch.zeros_like(matrix) for matrix in matrices]
        for pairs in _chunks(before):
            values, dot = inputs[pairs], dot_inputs[pairs]
            layers, entered = [], []
            for matrix, dot_matrix, z in zip(matrices, dot_matrices, before):
                entered.append((values, dot))
                dot_z = dot @ matrix
                if dot_matrix is not None:
                    dot_z.addmm_(values, dot_matrix)
                layers.append(_Layer(z[pairs], dot_z))
                values, dot = layers[-1].value, layers[-1].dot_value
            dot_hidden[pairs] = dot
            gradient, by_dot = torch.zeros_like(dot), by_hidden[pairs]
            for n in reversed(range(num_layers)):
                below, dot_below = entered[n]
                by_z, by_dot_z = layers[n].differentiate(gradient, by_dot)
                by_matrices[n].addmm_(below.T, by_z).addmm_(dot_below.T, by_dot_z)
                gradient, by_dot = by_z @ matrices[n].T, by_dot_z @ matrices[n].T
                dot_matrix = dot_matrices[n]
                if dot_matrix is not None:
                    gradient.addmm_(by_dot_z, dot_matrix.T)
            by_inputs[pairs] = gradient
        return None, None, dot_hidden, by_inputs, *by_matrices, *[None] * num_layers


class _Layer:
    """A hidden layer of a chunk, and its derivative along a direction."""

    def __init__(self, z: Float[Tensor, "_ _"], dot_z: Float[Tensor, "_ _"]) -> None:
        self.value, self.dot_value, self._slope, self._curve = (
            torch.empty_like(z) for _ in range(4)
        )
        results = (self.value, self.dot_value, self._slope, self._curve)
        arrays = (z, torch.sigmoid(z), dot_z, *results)
        activate(*(array.numpy() for array in arrays))

    def differentiate(
        self, by_value: Float[Tensor, "_ _"], by_dot_value: Float[Tensor, "_ _"]
    ) -> tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]:
        """Gradients by z and dot_z, given those by value and its derivative."""
        by_z, by_dot_z = torch.empty_like(by_value), torch.empty_like(by_value)
        given = (self._slope, self._curve, by_value, by_dot_value)
        differentiate(*(array.numpy() for array in (*given, by_z, by_dot_z)))
        return by_z, by_dot_z


def _chunks(before: Sequence[Float[Tensor, "pairs _"]]) -> Iterator[slice]:
    num_pairs = len(before[0])
    step = max(1, _CHUNK_FLOATS // max(z.shape[1] for z in before))
    for start in range(0, num_pairs, step):
        yield slice(start, min(start + step, num_pairs))
