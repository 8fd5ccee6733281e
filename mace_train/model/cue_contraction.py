"""The symmetric contraction by cuequivariance: `model.backend=cuequivariance`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mace_train.model.cue_products import Operand, Products, sum_of_products
from mace_train.model.polynomials import Polynomials

_ZERO = 1e-12  # as in `polynomials.py`


@cache
def contraction_operation(
    sets: tuple[tuple[Polynomials, ...], ...],
    num_components: int,
    channels: int,
    *,
    device: torch.device,
) -> nn.Module:
    """The sum over polynomials of weight, coefficient and monomial of the message.

    Args:
        sets: For each result, its polynomials of each order, lowest first.
        num_components: Components of the message.
        channels: Number of channels.
        device: Where it runs.
    """
    num_weights = sum(len(p.mixing) for orders in sets for p in orders)
    num_results = sum(orders[0].coefficients.shape[0] for orders in sets)
    return sum_of_products(
        [Operand(num_weights), Operand(num_components)],
        Operand(num_results),
        [_products(sets, order) for order in range(1, len(sets[0]) + 1)],
        channels=channels,
        device=device,
    )


def _products(sets: tuple[tuple[Polynomials, ...], ...], order: int) -> Products:
    rows, coefficients = [], []
    first_weight = first_result = 0
    for orders in sets:
        before, polynomials = orders[: order - 1], orders[order - 1]
        first = first_weight + sum(len(p.mixing) for p in before)
        for (result, weight, *monomial), coefficient in _terms(polynomials):
            rows.append((first + weight, *monomial, first_result + result))
            coefficients.append(coefficient)
        first_weight += sum(len(p.mixing) for p in orders)
        first_result += polynomials.coefficients.shape[0]
    return Products((0, *[1] * order), rows, coefficients)


def _terms(polynomials: Polynomials) -> Iterator[tuple[list[int], float]]:
    """Component of the result, polynomial, factors of the monomial; and coefficient."""
    coefficients = polynomials.coefficients
    for result, weight, place in np.argwhere(np.abs(coefficients) > _ZERO).tolist():
        monomial = polynomials.monomials[place].tolist()
        yield [result, weight, *monomial], float(coefficients[result, weight, place])


def cue_contract(
    operation: nn.Module,
    message: Float[Tensor, "harmonics nodes channels"],
    weights: Float[Tensor, "polynomials elements channels"],
    element_index: Int[Tensor, " nodes"],
) -> Float[Tensor, "components nodes channels"]:
    """Weighted polynomials, the components of all results in turn.

    Args:
        operation: From `contraction_operation`.
        message: The message.
        weights: Weights of each element.
        element_index: The element of each atom.
    """
    [values] = operation(
        [weights.transpose(0, 1).flatten(1), message.transpose(0, 1).flatten(1)],
        input_indices={0: element_index},
    )
    return values.unflatten(1, (-1, message.shape[2])).transpose(0, 1)
