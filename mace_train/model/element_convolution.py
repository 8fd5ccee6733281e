"""The convolution of the first layer, whose senders are alike if they are of one element.

Neighbors of one element share their features x, so they are summed first,

    A[i, m, k] = sum over elements z of (S[iz, m] @ matrix)[k] x[z, k],
    S[iz, m, h] = sum over j of element z of Y[ij, m] hidden[ij, h],

and the last radial layer is applied once an atom and element, not once an edge. Derivatives
are hand-written, like those of `chunked_convolution.py`.
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
from mace_train.model.element_kernels import (
    add_feature_gradients,
    add_products,
    add_row_gradients,
    add_row_sums,
    set_product_gradients,
)
from mace_train.model.last_derivative import last_derivative


def convolve_elements(
    task: ConvolutionTask,
    features: Float[Tensor, "1 nodes channels"],
    hidden: Float[Tensor, "pairs hidden"],
    matrix: Float[Tensor, "hidden weights"],
    harmonics: Float[Tensor, "pairs harmonics"],
) -> Float[Tensor, "rows channels"]:
    """Messages of all degrees in rows (component, node), differentiable twice.

    Args:
        task: Paths, one for each degree; rows of neighbors of one element.
        features: Features of the atoms, equal for atoms of one element.
        hidden: Last hidden layer of the radial MLP.
        matrix: Its last layer; weights are (degrees, channels).
        harmonics: Spherical harmonics of the pairs.
    """
    messages = _ElementConvolution.apply(
        task, features[0].contiguous(), hidden, matrix, harmonics
    )
    return messages.flatten(0, 1)


class _ElementConvolution(Function):
    @staticmethod
    def forward(ctx: Any, task: ConvolutionTask, *inputs: Tensor) -> Tensor:
        features, hidden, matrix, harmonics = inputs
        messages = features.new_zeros(task.coupling.num_rows, *features.shape)
        for chunk in task.chunks:
            rows = _Rows(task, chunk, hidden, harmonics)
            rows.add_messages(messages, rows.times(rows.sums(rows), matrix), features)
        ctx.task = task
        ctx.save_for_backward(*inputs)
        return messages

    @staticmethod
    def backward(ctx: Any, by_messages: Tensor) -> tuple[Tensor | None, ...]:
        # Features of elements are made of parameters alone: no way leads to positions.
        asked = (ctx.needs_input_grad[place] for place in (1, 3))
        wants = tuple(ask and ctx.task.scope.parameters for ask in asked)
        return None, *_FirstDerivative.apply(
            ctx.task, wants, *ctx.saved_tensors, by_messages.contiguous()
        )


class _FirstDerivative(Function):
    """Gradient of <by_messages, messages> by features, hidden, matrix, harmonics."""

    @staticmethod
    def forward(
        ctx: Any, task: ConvolutionTask, wants: tuple[bool, bool], *inputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        features, hidden, matrix, harmonics, by_messages = inputs
        by_features, by_hidden, by_matrix, by_harmonics = map(torch.zeros_like, inputs[:4])
        wants_features, wants_matrix = wants
        for chunk in task.chunks:
            rows = _Rows(task, chunk, hidden, harmonics)
            by_products = rows.by_products(features, by_messages)
            if any(wants):
                sums = rows.sums(rows)
                if wants_features:
                    products = rows.times(sums, matrix)
                    rows.add_features(by_features, products, by_messages)
                if wants_matrix:
                    rows.add_matrix(by_matrix, sums, by_products)
            by_sums = rows.times_transposed(by_products, matrix)
            rows.add_gradients((by_hidden, by_harmonics), *rows.by_edges((rows, by_sums)))
        ctx.task = task
        ctx.save_for_backward(*inputs)
        asked = by_features if wants_features else None, by_matrix if wants_matrix else None
        return asked[0], by_hidden, asked[1], by_harmonics

    @staticmethod
    @last_derivative
    def backward(
        ctx: Any,
        dot_features: Tensor | None,
        dot_hidden: Tensor,
        dot_matrix: Tensor | None,
        dot_harmonics: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradient of the first derivative along a direction (the arguments)."""
        task, inputs = ctx.task, ctx.saved_tensors
        features, hidden, matrix, harmonics, by_messages = (t.detach() for t in inputs)
        by_features, by_hidden, by_matrix, by_harmonics = map(torch.zeros_like, inputs[:4])
        dot_messages = torch.zeros_like(by_messages)
        for chunk in task.chunks:
            rows = _Rows(task, chunk, hidden, harmonics)
            dot = _Rows(task, chunk, dot_hidden, dot_harmonics)
            # <by_messages, dot_products * x>
            dot_sums = rows.sums(rows, dot)
            dot_products = rows.times(dot_sums, matrix)
            by_dot_products = rows.by_products(features, by_messages)
            terms = [(dot, rows.times_transposed(by_dot_products, matrix))]
            if dot_matrix is not None:
                dot_products += rows.times(rows.sums(rows), dot_matrix)
                terms += [(rows, rows.times_transposed(by_dot_products, dot_matrix))]
            rows.add_messages(dot_messages, dot_products, features)
            rows.add_features(by_features, dot_products, by_messages)
            rows.add_matrix(by_matrix, dot_sums, by_dot_products)
            if dot_features is not None:  # <by_messages, products * dot_x>
                sums, dot_x = rows.sums(rows), dot_features.contiguous()
                by_products = rows.by_products(dot_x, by_messages)
                rows.add_messages(dot_messages, rows.times(sums, matrix), dot_x)
                rows.add_matrix(by_matrix, sums, by_products)
                terms += [(rows, rows.times_transposed(by_products, matrix))]
            rows.add_gradients((by_hidden, by_harmonics), *rows.by_edges(*terms))
        gradients = (by_features, by_hidden, by_matrix, by_harmonics)
        return None, None, *gradients, dot_messages


class _Rows(Gathered):
    """Senders of one element around each receiver of a chunk, and sums over them."""

    def __init__(
        self,
        task: ConvolutionTask,
        chunk: Chunk,
        hidden: Float[Tensor, "pairs hidden"],
        harmonics: Float[Tensor, "pairs harmonics"],
    ) -> None:
        super().__init__(task, chunk, hidden, harmonics)
        self._first = chunk.first.numpy()
        self._ends = chunk.receiver.numpy(), chunk.sender.numpy()[self._first[:-1]]
        self._dims = [2 * degree + 1 for degree in range(len(task.coupling.paths))]

    def sums(self, *others: _Rows) -> Float[Tensor, "components rows hidden"]:
        """S of the rows, or its derivative along a direction: S is bilinear."""
        shape = (self.coupled.shape[1], len(self._first) - 1, self.hidden.shape[1])
        sums = self.hidden.new_zeros(shape)
        for one, other in zip(others, reversed(others)):
            add_row_sums(
                self._first, one.coupled.numpy(), other.hidden.numpy(), sums.numpy()
            )
        return sums

    def by_edges(
        self, *terms: tuple[_Rows, Float[Tensor, "components rows hidden"]]
    ) -> tuple[Float[Tensor, "edges hidden"], Float[Tensor, "edges coupled"]]:
        """Gradients by hidden and coupled, from those by S or its derivative."""
        by_hidden, by_coupled = map(torch.zeros_like, (self.hidden, self.coupled))
        for rows, by_sums in terms:
            arrays = (rows.coupled, rows.hidden, by_sums, by_coupled, by_hidden)
            add_row_gradients(self._first, *(array.numpy() for array in arrays))
        return by_hidden, by_coupled

    def times(
        self,
        sums: Float[Tensor, "components rows hidden"],
        matrix: Float[Tensor, "hidden weights"],
    ) -> Float[Tensor, "components rows channels"]:
        """Products of S with the matrix of each degree."""
        pairs = zip(sums.split(self._dims), matrix.chunk(len(self._dims), dim=1))
        return torch.cat([block @ of_degree for block, of_degree in pairs])

    def times_transposed(
        self,
        by_products: Float[Tensor, "components rows channels"],
        matrix: Float[Tensor, "hidden weights"],
    ) -> Float[Tensor, "components rows hidden"]:
        """Gradient by S from that by the products."""
        pairs = zip(by_products.split(self._dims), matrix.chunk(len(self._dims), dim=1))
        return torch.cat([block @ of_degree.T for block, of_degree in pairs])

    def add_matrix(
        self,
        by_matrix: Float[Tensor, "hidden weights"],
        sums: Float[Tensor, "components rows hidden"],
        by_products: Float[Tensor, "components rows channels"],
    ) -> None:
        """Add the gradient by the matrices."""
        blocks = zip(sums.split(self._dims), by_products.split(self._dims))
        into = by_matrix.chunk(len(self._dims), dim=1)
        for of_degree, (block, by_block) in zip(into, blocks):
            of_degree.addmm_(block.flatten(0, 1).T, by_block.flatten(0, 1))

    def add_messages(
        self,
        messages: Float[Tensor, "components nodes channels"],
        products: Float[Tensor, "components rows channels"],
        features: Float[Tensor, "nodes channels"],
    ) -> None:
        """Add products times the features of their senders to the messages."""
        arrays = (products, features, messages)
        add_products(*self._ends, *(array.numpy() for array in arrays))

    def add_features(
        self,
        by_features: Float[Tensor, "nodes channels"],
        products: Float[Tensor, "components rows channels"],
        by_messages: Float[Tensor, "components nodes channels"],
    ) -> None:
        """Add the gradient by the features."""
        arrays = (products, by_messages, by_features)
        add_feature_gradients(*self._ends, *(array.numpy() for array in arrays))

    def by_products(
        self,
        features: Float[Tensor, "nodes channels"],
        by_messages: Float[Tensor, "components nodes channels"],
    ) -> Float[Tensor, "components rows channels"]:
        """Gradient by the products."""
        shape = (len(by_messages), len(self._first) - 1, features.shape[1])
        by_products = features.new_empty(shape)
        arrays = (features, by_messages, by_products)
        set_product_gradients(*self._ends, *(array.numpy() for array in arrays))
        return by_products
