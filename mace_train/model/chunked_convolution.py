"""The convolution in chunks of receivers, with hand-written first and second derivatives.

Radial weights R = hidden @ matrix are made by one product for each chunk; the loops over
its edges are those of `convolution_kernels.py`. All is linear in features, radial weights
and harmonics, so derivatives are made of the same products. Nothing of size edges x
channels outlives a chunk.
"""
# Gradients have names here, and autograd calls by position:
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function

from mace_train.model.convolution_chunks import Chunk, ConvolutionTask, Gathered
from mace_train.model.convolution_kernels import (
    add_first_derivative,
    add_messages,
    add_second_derivative,
)
from mace_train.model.last_derivative import last_derivative


def convolve(
    task: ConvolutionTask,
    features: Float[Tensor, "components nodes channels"],
    hidden: Float[Tensor, "pairs hidden"],
    matrix: Float[Tensor, "hidden weights"],
    harmonics: Float[Tensor, "pairs harmonics"],
) -> Float[Tensor, "rows channels"]:
    """Messages of all degrees in rows (degree; m3, node, path), differentiable twice.

    Args:
        task: Paths and neighbors.
        features: Features of the atoms.
        hidden: Last hidden layer of the radial MLP.
        matrix: Its last layer; weights are (paths, channels).
        harmonics: Spherical harmonics of the pairs.
    """
    given = (features.contiguous(), hidden, matrix, harmonics)
    return _Convolution.apply(task, *given)


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, task: ConvolutionTask, *inputs: Tensor) -> Tensor:
        features, hidden, matrix, harmonics = inputs
        messages = _no_messages(task, features)
        for chunk in task.chunks:
            edges = _Edges(task, chunk, hidden, harmonics)
            add_messages(
                *edges.tables,
                edges.weights(matrix, features),
                features.numpy(),
                edges.coupled.numpy(),
                messages.numpy(),
            )
        ctx.task = task
        ctx.save_for_backward(*inputs)
        return messages

    @staticmethod
    def backward(ctx: Any, by_messages: Tensor) -> tuple[Tensor | None, ...]:
        wants_matrix = ctx.needs_input_grad[3] and ctx.task.scope.parameters
        return None, *_FirstDerivative.apply(
            ctx.task, wants_matrix, *ctx.saved_tensors, by_messages.contiguous()
        )


class _FirstDerivative(Function):
    """Gradient of <by_messages, messages> by features, hidden, matrix, harmonics."""

    @staticmethod
    def forward(
        ctx: Any, task: ConvolutionTask, wants_matrix: bool, *inputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        features, hidden, matrix, harmonics, by_messages = inputs
        by_features, by_hidden, by_matrix, by_harmonics = map(torch.zeros_like, inputs[:4])
        for chunk in task.chunks:
            edges = _Edges(task, chunk, hidden, harmonics)
            weights = edges.weights(matrix, features)
            by_weights = edges.hidden.new_empty(len(edges.hidden), matrix.shape[1])
            by_coupled = torch.empty_like(edges.coupled)
            add_first_derivative(
                *edges.tables,
                weights,
                features.numpy(),
                edges.coupled.numpy(),
                by_messages.numpy(),
                by_weights.numpy().reshape(weights.shape),
                by_features.numpy(),
                by_coupled.numpy(),
            )
            into = (by_hidden, by_harmonics)
            edges.add_gradients(into, by_weights @ matrix.T, by_coupled)
            if wants_matrix:
                by_matrix.addmm_(edges.hidden.T, by_weights)
        ctx.task = task
        ctx.save_for_backward(*inputs)
        return by_features, by_hidden, by_matrix if wants_matrix else None, by_harmonics

    @staticmethod
    @last_derivative
    def backward(
        ctx: Any,
        dot_features: Tensor,
        dot_hidden: Tensor,
        dot_matrix: Tensor | None,
        dot_harmonics: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradient of the first derivative along a direction (the arguments)."""
        task, inputs = ctx.task, ctx.saved_tensors
        features, hidden, matrix, harmonics, by_messages = (t.detach() for t in inputs)
        dot_features = dot_features.contiguous()
        by_features, by_hidden, by_matrix, by_harmonics = map(torch.zeros_like, inputs[:4])
        dot_messages = _no_messages(task, features)
        for chunk in task.chunks:
            edges = _Edges(task, chunk, hidden, harmonics)
            dot = _Edges(task, chunk, dot_hidden, dot_harmonics)
            weights = edges.weights(matrix, features)
            dot_weights = dot.weights(matrix, features)
            if dot_matrix is not None:
                dot_weights += edges.weights(dot_matrix, features)
            by_weights = edges.hidden.new_empty(len(edges.hidden), matrix.shape[1])
            by_dot_weights = torch.empty_like(by_weights)
            by_coupled = torch.empty_like(edges.coupled)
            add_second_derivative(
                *edges.tables,
                weights,
                features.numpy(),
                edges.coupled.numpy(),
                dot_weights,
                dot_features.numpy(),
                dot.coupled.numpy(),
                by_messages.numpy(),
                by_weights.numpy().reshape(weights.shape),
                by_dot_weights.numpy().reshape(weights.shape),
                by_features.numpy(),
                by_coupled.numpy(),
                dot_messages.numpy(),
            )
            of_hidden = by_weights @ matrix.T
            if dot_matrix is not None:
                of_hidden.addmm_(by_dot_weights, dot_matrix.T)
            edges.add_gradients((by_hidden, by_harmonics), of_hidden, by_coupled)
            by_matrix.addmm_(edges.hidden.T, by_weights)
            by_matrix.addmm_(dot.hidden.T, by_dot_weights)
        gradients = (by_features, by_hidden, by_matrix, by_harmonics)
        return None, None, *gradients, dot_messages


class _Edges(Gathered):
    """What the loops over the edges of a chunk take."""

    def __init__(
        self,
        task: ConvolutionTask,
        chunk: Chunk,
        hidden: Float[Tensor, "pairs hidden"],
        harmonics: Float[Tensor, "pairs harmonics"],
    ) -> None:
        super().__init__(task, chunk, hidden, harmonics)
        tables = (chunk.first, chunk.receiver, chunk.sender)
        arrays = (table.numpy() for table in tables)
        self.tables: tuple[Any, ...] = (*arrays, task.coupling.paths)

    def weights(self, matrix: Tensor, features: Tensor) -> Any:
        """Radial weights (edges, paths, channels)."""
        return (self.hidden @ matrix).view(len(self.hidden), -1, features.shape[2]).numpy()


def _no_messages(
    task: ConvolutionTask, features: Float[Tensor, "components nodes channels"]
) -> Float[Tensor, "rows channels"]:
    _, num_nodes, channels = features.shape
    return features.new_zeros(task.coupling.num_rows * num_nodes, channels)
