"""The product basis as gradients of homogeneous forms, for the fast contraction.

With a constant component x_0 = 1 beside the message, a polynomial up to order nu is a
homogeneous form F of degree nu. Its gradient T_i = sum over mu of D[i, mu] N_mu is made of
the monomials N of degree nu - 1, and gives the form itself (Euler): nu F = sum over i of
x_i T_i. So one contraction serves the value and the first derivative, and, since T's own
derivative along t is symmetric, D contracted with the derivative of N along t serves the
second. Most D[i, mu] vanish by symmetry; the others are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mace_train.model.polynomials import Monomial, Polynomials

_Place = tuple[int, int, Monomial]  # result, component i, monomial mu


@dataclass(frozen=True)
class GradientForms:
    """The entries of D that do not vanish, row by row; a row is (result, component i).

    Attributes:
        degree: Degree nu of the forms.
        num_results: Components of the results.
        factors: (nu - 1, monomials) components that make each monomial; 0 is the constant.
        row_result: Component of the results that each row is a derivative of.
        row_component: The component i by which it is the derivative; 0 is the constant.
        entry_row: Row of each entry.
        entry_monomial: Monomial of each entry.
        entry_weights: What makes the entries of the weights.
    """

    degree: int
    num_results: int
    factors: Int[np.ndarray, "factors monomials"]
    row_result: Int[np.ndarray, " rows"]
    row_component: Int[np.ndarray, " rows"]
    entry_row: Int[np.ndarray, " entries"]
    entry_monomial: Int[np.ndarray, " entries"]
    entry_weights: Float[np.ndarray, "entries weights"]


def gradient_forms(sets: Sequence[Sequence[Polynomials]]) -> GradientForms:
    """Differentiate polynomials of the message.

    Args:
        sets: For each degree of the result, its polynomials of order 1, 2, ...; weights
            follow the same order.
    """
    degree = len(sets[0])
    num_weights = sum(p.coefficients.shape[1] for orders in sets for p in orders)
    values: dict[_Place, np.ndarray] = {}
    for place, weight, value in _derivatives(sets, degree):
        values.setdefault(place, np.zeros(num_weights))[weight] += value
    places = sorted(values)
    rows = sorted({place[:2] for place in places})
    monomials = sorted({place[2] for place in places})
    row_of = {row: index for index, row in enumerate(rows)}
    monomial_of = {monomial: index for index, monomial in enumerate(monomials)}
    factors = np.array(monomials, np.int64).reshape(len(monomials), degree - 1)
    return GradientForms(
        degree=degree,
        num_results=sum(orders[0].coefficients.shape[0] for orders in sets),
        factors=factors.T.copy(),
        row_result=np.array([result for result, _ in rows], np.int64),
        row_component=np.array([component for _, component in rows], np.int64),
        entry_row=np.array([row_of[place[:2]] for place in places], np.int64),
        entry_monomial=np.array([monomial_of[place[2]] for place in places], np.int64),
        entry_weights=np.array([values[place] for place in places]).reshape(
            -1, num_weights
        ),
    )


def _derivatives(
    sets: Sequence[Sequence[Polynomials]], degree: int
) -> Iterator[tuple[_Place, int, float]]:
    """Coefficients of all first derivatives of the homogeneous forms, by weight."""
    first_result = first_weight = 0
    for orders in sets:
        for polynomials in orders:
            for column, factors in enumerate(polynomials.monomials.tolist()):
                constants = (0,) * (degree - len(factors))
                form = (*constants, *(component + 1 for component in factors))
                of_form = polynomials.coefficients[:, :, column]
                for result, weight in np.argwhere(of_form).tolist():
                    for component, power in Counter(form).items():
                        rest = list(form)
                        rest.remove(component)
                        place = (first_result + result, component, tuple(rest))
                        value = power * float(of_form[result, weight])
                        yield place, first_weight + weight, value
            first_weight += polynomials.coefficients.shape[1]
        first_result += orders[0].coefficients.shape[0]
