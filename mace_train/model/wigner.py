"""Wigner 3j symbols and the generalized Clebsch-Gordan coefficients of the product basis.

Their signs are those of e3nn 0.4.4, on which all published MACE weights rest, whichever
e3nn is installed. Everything here is computed once per process, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mace_train.model.irreps import o3

MAX_DEGREE = 8
"""Largest l whose sign convention is known; the products of max_ell 4 reach it."""

# Degrees, in any order, whose symbol changed sign in e3nn 0.5.0 (its pull request 341).
_FLIPPED = {(1, degree, degree) for degree in range(2, MAX_DEGREE + 1)} | {
    *((3, 4, 6), (3, 5, 7), (3, 6, 8), (4, 4, 5), (4, 5, 6), (4, 6, 7), (4, 7, 8)),
    *((5, 5, 5), (5, 6, 6), (5, 7, 7), (5, 8, 8)),
}


@cache
def _library_is_flipped() -> bool:
    """Whether the installed e3nn has the newer signs, which (1, 2, 2) tells."""
    symbol = o3.wigner_3j(1, 2, 2, dtype=torch.float64)
    return bool(symbol[0, 0, 1] < 0)


@cache
def wigner_3j(degree_1: int, degree_2: int, degree_3: int) -> NDArray[np.float64]:
    """Wigner 3j symbol of real spherical harmonics, with the signs of e3nn 0.4.4.

    Its square sums to one; do not write into the array, which is cached.

    >>> wigner_3j(1, 1, 0)[:, :, 0].round(3)
    array([[0.577, 0.   , 0.   ],
           [0.   , 0.577, 0.   ],
           [0.   , 0.   , 0.577]])

    Raises:
        ValueError: If a degree exceeds `MAX_DEGREE`, beyond which the signs are not known.
    """
    degrees = (degree_1, degree_2, degree_3)
    if max(degrees) > MAX_DEGREE:
        raise ValueError(f"Wigner 3j symbols are known up to l={MAX_DEGREE}, got {degrees}")
    symbol = o3.wigner_3j(*degrees, dtype=torch.float64).numpy()
    flip = _library_is_flipped() and tuple(sorted(degrees)) in _FLIPPED
    return -symbol if flip else symbol


@dataclass(frozen=True)
class Path:
    """One way to couple several spherical harmonics to a single irrep.

    Attributes:
        degrees: Degrees of the coupled factors.
        degree: Degree of the result.
        parity: Parity of the result, 1 or -1.
        coefficients: (2 degree + 1, 2 degrees[0] + 1, ..., 2 degrees[-1] + 1).
    """

    degrees: tuple[int, ...]
    degree: int
    parity: int
    coefficients: NDArray[np.float64]


@cache
def coupling_paths(max_ell: int, *, correlation: int, max_degree: int) -> tuple[Path, ...]:
    """All ways to couple ``correlation`` factors with l <= ``max_ell``, one after another.

    The order is that of mace-torch's path weights: by the irrep of the result, then by that
    of the first factors, and so on (arXiv:2206.07697, Eq. 10).

    Args:
        max_ell: Highest degree of a factor.
        correlation: Number of factors.
        max_degree: Highest degree of the result.
    """
    if correlation == 1:
        degrees = range(min(max_ell, max_degree) + 1)
        return tuple(Path((d,), d, (-1) ** d, np.eye(2 * d + 1)) for d in degrees)
    paths = []
    firsts = coupling_paths(
        max_ell, correlation=correlation - 1, max_degree=max_degree + max_ell
    )
    for first in firsts:
        for last in range(max_ell + 1):
            highest = min(first.degree + last, max_degree)
            for degree in range(abs(first.degree - last), highest + 1):
                # The symbol couples (result, first factors, last factor) in this order.
                symbol = wigner_3j(degree, first.degree, last) * np.sqrt(2 * degree + 1)
                coefficients = np.einsum("j...,ijl->i...l", first.coefficients, symbol)
                parity = first.parity * (-1) ** last
                paths.append(Path((*first.degrees, last), degree, parity, coefficients))
    return tuple(sorted(paths, key=lambda path: (path.degree, path.parity)))


def product_basis(max_ell: int, degree: int, *, correlation: int) -> NDArray[np.float64]:
    """The tensor U of the symmetric contraction (arXiv:2206.07697, Eq. 10).

    Its columns are the ways to couple ``correlation`` copies of the spherical harmonics up
    to ``max_ell`` to ``degree`` with natural parity. They are not independent once the
    factors are equal, but weights and published files count them all.

    Returns:
        (2 degree + 1, components, ..., components, paths), one axis of components a factor.

    Raises:
        ValueError: If no product gives ``degree``.
    """
    paths = [
        path
        for path in coupling_paths(max_ell, correlation=correlation, max_degree=degree)
        if path.degree == degree and path.parity == (-1) ** degree
    ]
    if not paths:
        raise ValueError(
            f"no product of {correlation} spherical harmonics up to max_ell={max_ell} "
            f"gives l={degree}: raise max_ell or lower the l of hidden_irreps"
        )
    components = (max_ell + 1) ** 2
    basis = np.zeros((len(paths), 2 * degree + 1, *[components] * correlation))
    for column, path in zip(basis, paths):
        block = tuple(slice(d**2, (d + 1) ** 2) for d in path.degrees)
        column[(slice(None), *block)] = path.coefficients
    return np.moveaxis(basis, 0, -1)
