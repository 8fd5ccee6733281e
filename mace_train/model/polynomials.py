"""The product basis as polynomials: monomials evaluated once, dependent paths removed.

The tensor U of the paper couples several copies of one and the same vector. Written in
monomials of its components it is sparse and short; the result is the same to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mace_train.model.wigner import product_basis

_ZERO = 1e-12  # coefficients are of order 0.01 to 10

Monomial = tuple[int, ...]


@dataclass(frozen=True, eq=False)  # a key of caches as the object that it is
class Polynomials:
    """Independent equivariant polynomials of one order, and how paths are made of them.

    Attributes:
        monomials: (monomials, order) ascending component indices of the factors.
        coefficients: (components of the result, polynomials, monomials).
        mixing: (polynomials, paths); a weight of each path becomes one of each polynomial.
    """

    monomials: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    mixing: NDArray[np.float64]


@cache
def product_polynomials(max_ell: int, degree: int, *, correlation: int) -> Polynomials:
    """`symmetrized` of `product_basis`."""
    return symmetrized(product_basis(max_ell, degree, correlation=correlation))


def symmetrized(basis: NDArray[np.float64]) -> Polynomials:
    """Reduce a product basis whose factors are all the same vector.

    Equal monomials are added up, and paths that depend on others are expressed by them. For
    max_ell 3, the 51 paths of order 3 to l = 1 are 12 polynomials in 278 of 816 monomials.

    Args:
        basis: (2 degree + 1, components, ..., components, paths), as of `product_basis`.
    """
    rows, components, paths = basis.shape[0], basis.shape[1], basis.shape[-1]
    order = basis.ndim - 2
    flat = basis.reshape(rows, -1, paths)
    used = np.flatnonzero(np.abs(flat).max(axis=(0, 2)) > _ZERO)
    factors = np.stack(np.unravel_index(used, (components,) * order), axis=1)
    monomials, place = np.unique(np.sort(factors, axis=1), axis=0, return_inverse=True)
    table = np.zeros((len(monomials), rows, paths))
    np.add.at(table, place.reshape(-1), flat[:, used].swapaxes(0, 1))
    columns = table.reshape(-1, paths)
    kept = columns[:, _independent_columns(columns)]
    mixing = np.asarray(np.linalg.lstsq(kept, columns, rcond=None)[0], dtype=np.float64)
    mixing[np.abs(mixing) < _ZERO] = 0
    coefficients = np.moveaxis(kept.reshape(len(monomials), rows, -1), 0, 2)
    present = np.abs(coefficients).max(axis=(0, 1), initial=0) > _ZERO
    return Polynomials(monomials[present], coefficients[:, :, present], mixing)


def _independent_columns(columns: NDArray[np.float64]) -> list[int]:
    """First columns that span all columns, in order (Gram-Schmidt, twice for accuracy)."""
    kept: list[int] = []
    directions = np.zeros((columns.shape[0], 0))
    for index, column in enumerate(columns.T):
        rest = column - directions @ (directions.T @ column)
        rest = rest - directions @ (directions.T @ rest)
        norm = np.linalg.norm(rest)
        if norm > 1e-8 * max(1.0, float(np.linalg.norm(column))):
            kept.append(index)
            directions = np.column_stack([directions, rest / norm])
    return kept


@dataclass(frozen=True)
class MonomialTable:
    """All monomials that several sets of polynomials need, each made of one of lower order.

    Attributes:
        factors: For each order from 2 up: (2, monomials); row 0 a component of the vector,
            row 1 the place of the other factors among the monomials of the order below.
            Order 1 is the vector itself.
        coefficients: (values, monomials of all orders in turn); the values are, set by set,
            (components of the result, polynomials of all orders in turn).
    """

    factors: tuple[NDArray[np.int64], ...]
    coefficients: NDArray[np.float64]


def tabulated(sets: Sequence[Sequence[Polynomials]], num_components: int) -> MonomialTable:
    """Join polynomials of orders 1, 2, ... to several results into one table.

    Args:
        sets: For each result, its polynomials of each order, lowest first.
        num_components: Components of the vector.
    """
    by_order = _monomials(sets, num_components)
    place: dict[Monomial, int] = {}
    factors = []
    for order, monomials in enumerate(by_order, start=1):
        if order > 1:
            below = {monomial: index for index, monomial in enumerate(by_order[order - 2])}
            pairs = [(monomial[0], below[monomial[1:]]) for monomial in monomials]
            factors.append(np.array(pairs, dtype=np.int64).reshape(-1, 2).T.copy())
        for monomial in monomials:
            place[monomial] = len(place)
    rows = [
        np.concatenate([_spread(polynomials, place) for polynomials in orders], axis=1)
        for orders in sets
    ]
    coefficients = np.concatenate([row.reshape(-1, len(place)) for row in rows])
    return MonomialTable(tuple(factors), coefficients)


def _monomials(
    sets: Sequence[Sequence[Polynomials]], num_components: int
) -> list[list[Monomial]]:
    """Monomials of each order, closed under leaving out the first factor."""
    by_order: list[set[Monomial]] = [set() for _ in sets[0]]
    for orders in sets:
        for known, polynomials in zip(by_order, orders):
            known |= {tuple(row) for row in polynomials.monomials.tolist()}
    for order in range(len(by_order) - 1, 0, -1):
        by_order[order - 1] |= {monomial[1:] for monomial in by_order[order]}
    by_order[0] = {(component,) for component in range(num_components)}
    return [sorted(monomials) for monomials in by_order]


def _spread(polynomials: Polynomials, place: dict[Monomial, int]) -> NDArray[np.float64]:
    """Coefficients (components, polynomials, monomials) in the table of all monomials."""
    columns = [place[tuple(monomial)] for monomial in polynomials.monomials.tolist()]
    components, count, _ = polynomials.coefficients.shape
    spread = np.zeros((components, count, len(place)))
    spread[:, :, columns] = polynomials.coefficients
    return spread
