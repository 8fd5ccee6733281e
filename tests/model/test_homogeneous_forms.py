import numpy as np
import pytest
import torch
from made_neighborhoods import lone_atoms

from mace_train.model.homogeneous_forms import gradient_forms
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.polynomials import product_polynomials
from mace_train.model.symmetric_contraction import SymmetricContraction

DEGREES = [(0, (0,)), (1, (0, 1)), (2, (0, 1, 2)), (2, (0, 2)), (3, (0, 1)), (3, (0, 3))]


def forms_of(max_ell, degrees, correlation):
    orders = range(1, correlation + 1)
    return gradient_forms(
        [
            [product_polynomials(max_ell, degree, correlation=order) for order in orders]
            for degree in degrees
        ]
    )


def gradients(forms, weights, x):
    """T = D N, with D laid out in full."""
    dense = np.zeros((len(forms.row_result), forms.factors.shape[1]))
    dense[forms.entry_row, forms.entry_monomial] = forms.entry_weights @ weights
    return dense @ x[forms.factors].prod(axis=0)


@pytest.mark.parametrize("correlation", [1, 2, 3])
@pytest.mark.parametrize(("max_ell", "degrees"), DEGREES)
def test_rows_are_the_derivatives_of_the_polynomials_and_give_them_by_euler(
    max_ell, degrees, correlation
):
    module = SymmetricContraction(
        max_ell, Layout(1, degrees), correlation=correlation, num_elements=2
    ).double()
    atom = Neighborhoods.of(lone_atoms([1]))
    message = torch.randn(module.num_components, dtype=torch.float64)

    def polynomials(message):
        return torch.cat(module(message[:, None, None], atom, backend="plain")).flatten()

    results = polynomials(message).detach().numpy()
    jacobian = torch.autograd.functional.jacobian(polynomials, message).numpy()

    forms = forms_of(max_ell, degrees, correlation)
    weights = torch.cat([part() for part in module.contractions])[:, 1, 0]
    x = np.concatenate([[1.0], message.numpy()])
    rows = gradients(forms, weights.detach().numpy(), x)

    by_result = np.zeros((len(results), len(x)))
    np.add.at(by_result, (forms.row_result, forms.row_component), rows)
    np.testing.assert_allclose(by_result[:, 1:], jacobian, rtol=1e-12, atol=1e-12)
    assert forms.degree == correlation
    np.testing.assert_allclose(by_result @ x / correlation, results, rtol=0, atol=1e-12)


@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_the_gradient_of_a_form_is_differentiable_in_any_order(correlation):
    """T is a gradient, so its own derivative is symmetric."""
    forms = forms_of(2, (0, 1), correlation)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=forms.entry_weights.shape[1])
    x, step = rng.normal(size=10), 1e-6

    def of_first_result(x):
        rows, gradient = gradients(forms, weights, x), np.zeros(10)
        first = forms.row_result == 0
        np.add.at(gradient, forms.row_component[first], rows[first])
        return gradient

    hessian = np.array(
        [
            (of_first_result(x + step * e) - of_first_result(x - step * e)) / (2 * step)
            for e in np.eye(10)
        ]
    )
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-7)


@pytest.mark.parametrize("correlation", [1, 2, 3])
@pytest.mark.parametrize(("max_ell", "degrees"), DEGREES)
def test_every_row_monomial_and_entry_is_listed_once_and_used(
    max_ell, degrees, correlation
):
    forms = forms_of(max_ell, degrees, correlation)
    assert forms.factors.shape == (correlation - 1, forms.entry_monomial.max() + 1)
    for columns in (
        (forms.row_result, forms.row_component),
        (forms.entry_row, forms.entry_monomial),
        (*forms.factors, np.zeros(forms.factors.shape[1])),
    ):
        listed = list(zip(*columns))
        assert len(set(listed)) == len(listed)
    assert set(forms.entry_row) == set(range(len(forms.row_result)))
    assert set(forms.entry_monomial) == set(range(forms.factors.shape[1]))
    assert forms.entry_weights.any(axis=1).all()
    assert set(forms.row_result) == set(range(sum(2 * degree + 1 for degree in degrees)))


def test_most_of_the_table_vanishes_by_symmetry():
    forms = forms_of(3, (0, 1), 3)
    size = len(forms.row_result) * forms.factors.shape[1]
    assert len(forms.entry_row) < size / 8
