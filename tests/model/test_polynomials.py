import numpy as np
import pytest

from mace_train.model.polynomials import product_polynomials, symmetrized, tabulated
from mace_train.model.wigner import product_basis


def dense_values(basis, vector, weights):
    """What the tensor itself gives, contracted one factor after the other."""
    values = basis @ weights
    for _ in range(basis.ndim - 2):
        values = values @ vector
    return values


@pytest.mark.parametrize("correlation", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_polynomials_have_the_values_of_the_dense_tensor(degree, correlation):
    rng = np.random.default_rng(1)
    vector = rng.normal(size=9)
    basis = product_basis(2, degree, correlation=correlation)
    weights = rng.normal(size=basis.shape[-1])
    polynomials = product_polynomials(2, degree, correlation=correlation)

    monomials = vector[polynomials.monomials].prod(axis=1)
    values = polynomials.coefficients @ monomials
    values = values @ (polynomials.mixing @ weights)

    np.testing.assert_allclose(values, dense_values(basis, vector, weights), atol=1e-12)


@pytest.mark.parametrize(("degree", "count", "monomials"), [(0, 8, 77), (1, 12, 278)])
def test_paths_of_equal_factors_are_redundant(degree, count, monomials):
    polynomials = product_polynomials(3, degree, correlation=3)
    assert polynomials.coefficients.shape == (2 * degree + 1, count, monomials)


def test_a_basis_of_independent_paths_is_kept_as_it_is():
    rng = np.random.default_rng(2)
    basis = rng.normal(size=(3, 4, 4, 2))
    polynomials = symmetrized(basis)
    np.testing.assert_allclose(polynomials.mixing, np.eye(2), atol=1e-12)


def test_a_path_that_vanishes_for_equal_factors_has_no_polynomial():
    basis = np.zeros((1, 2, 2, 1))
    basis[0, 0, 1, 0], basis[0, 1, 0, 0] = 1.0, -1.0
    polynomials = symmetrized(basis)
    assert polynomials.coefficients.shape == (1, 0, 0)
    assert polynomials.mixing.shape == (0, 1)


def test_a_table_evaluates_all_sets_from_monomials_of_lower_order():
    vector = np.random.default_rng(3).normal(size=9)
    sets = [
        [product_polynomials(2, degree, correlation=order) for order in (1, 2, 3)]
        for degree in (0, 1)
    ]
    table = tabulated(sets, 9)

    products = [vector]
    for components, rest in table.factors:
        products.append(vector[components] * products[-1][rest])
    values = table.coefficients @ np.concatenate(products)

    expected = [
        np.concatenate(
            [p.coefficients @ vector[p.monomials].prod(axis=1) for p in orders], axis=1
        )
        for orders in sets
    ]
    expected = np.concatenate([part.reshape(-1) for part in expected])
    np.testing.assert_allclose(values, expected, atol=1e-12)
