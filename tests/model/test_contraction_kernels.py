"""The loops over atoms, against einsum with a dense table D."""

import numpy as np
import pytest

from mace_train.model.contraction_kernels import (
    BLOCK,
    add_entry_gradient,
    add_message_gradient,
    add_second_derivative,
    set_results,
)

ATOMS, ENDS = np.array([3, 0, 2, 1]), np.array([0, 1, 4])  # two elements
ELEMENT = np.array([1, 1, 1, 0])  # of each atom
ROW_RESULT, ROW_COMPONENT = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 2])
FACTORS = {
    1: np.zeros((0, 1), np.int64),
    2: np.array([[0, 1, 2]]),
    3: np.array([[0, 0, 1, 2], [0, 2, 2, 2]]),
}
COMPONENTS, RESULTS = 2, 2


class Given:
    """Random arrays for forms of a degree, and what they mean."""

    def __init__(self, degree, channels, dtype):
        self.rng, self.channels, self.dtype = np.random.default_rng(0), channels, dtype
        self.degree, self.factors = degree, FACTORS[degree]
        num_monomials = self.factors.shape[1]
        dense = self.rng.uniform(size=(len(ROW_RESULT), num_monomials)) < 0.7
        self.row, self.monomial = np.nonzero(dense)
        rows, entries = (ROW_RESULT, ROW_COMPONENT), (self.row, self.monomial)
        self.forms = (self.factors, rows, entries)
        self.message, self.dot_message = self.normal(2, COMPONENTS, 4, channels)
        self.entries = self.normal(2, len(self.row), channels)
        self.by_results = self.normal(RESULTS, 4, channels)

    def normal(self, *shape):
        return self.rng.normal(size=shape).astype(self.dtype)

    def with_constant(self, message, constant):
        return np.concatenate([np.full_like(message[:1], constant), message])

    @property
    def x(self):
        return self.with_constant(self.message, 1)

    @property
    def dot_x(self):
        return self.with_constant(self.dot_message, 0)

    @property
    def monomials(self):
        return self.x[self.factors].prod(axis=0)

    @property
    def dot_monomials(self):
        total = np.zeros_like(self.monomials)
        for place in range(len(self.factors)):
            others = np.delete(self.factors, place, axis=0)
            total += self.dot_x[self.factors[place]] * self.x[others].prod(axis=0)
        return total

    def rows(self, entries, monomials):
        """D N for each atom."""
        rows = np.zeros((len(ROW_RESULT), 4, self.channels), self.dtype)
        np.add.at(
            rows, self.row, entries[ELEMENT].swapaxes(0, 1) * monomials[self.monomial]
        )
        return rows

    def results(self, x, rows):
        """The sums over i of x_i T_i."""
        results = np.zeros_like(self.by_results)
        np.add.at(results, ROW_RESULT, x[ROW_COMPONENT] * rows)
        return results

    def by_message(self, rows):
        """The sums over results of their gradient times T_i."""
        by_x = np.zeros_like(self.x)
        np.add.at(by_x, ROW_COMPONENT, self.by_results[ROW_RESULT] * rows)
        return by_x[1:]

    def by_entries(self, x):
        """Gradient of the sums over i of x_i T_i by D."""
        rows = self.by_results[ROW_RESULT] * x[ROW_COMPONENT]
        by_entries = np.zeros_like(self.entries)
        of_atoms = rows[self.row] * self.monomials[self.monomial]
        np.add.at(by_entries, ELEMENT, of_atoms.swapaxes(0, 1))
        return by_entries


@pytest.fixture(
    params=[
        (degree, channels, dtype)
        for degree in (1, 2, 3)
        for channels in (3, BLOCK + 2)
        for dtype in (np.float32, np.float64)
    ],
    ids=str,
)
def given(request):
    return Given(*request.param)


def close(found, expected):
    tolerance = 2e-4 if found.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_results_are_those_of_euler_and_gradients_are_kept(given):
    rows = given.rows(given.entries, given.monomials)
    gradients, results = np.ones_like(rows), np.zeros_like(given.by_results)
    set_results(given.forms, ATOMS, ENDS, given.message, given.entries, gradients, results)
    close(gradients, rows)
    close(results, given.results(given.x, rows) / given.degree)


def test_the_gradient_by_the_message_is_made_of_the_kept_ones(given):
    gradients = given.normal(len(ROW_RESULT), 4, given.channels)
    by_message = np.ones_like(given.message)
    add_message_gradient(given.forms, gradients, given.by_results, by_message)
    close(by_message, 1 + given.by_message(gradients))


def test_the_gradient_by_the_entries_is_summed_over_the_atoms_of_an_element(given):
    by_entries = np.ones_like(given.entries)
    arrays = (given.message, given.by_results, by_entries)
    add_entry_gradient(given.forms, ATOMS, ENDS, *arrays)
    close(by_entries, 1 + given.by_entries(given.x) / given.degree)


def test_the_second_derivative_is_that_of_the_first(given):
    """Of <by_results x_i, T_i dot_x_i>."""
    rows = given.rows(given.entries, given.monomials)
    dot_rows = given.rows(given.entries, given.dot_monomials)
    dot_results = given.results(given.dot_x, rows)
    into = [np.zeros_like(a) for a in (given.message, given.entries, given.by_results)]
    add_second_derivative(
        *(given.forms, ATOMS, ENDS, given.message, given.entries, rows),
        *(given.by_results, given.dot_message, *into),
    )
    close(into[0], given.by_message(dot_rows))
    close(into[1], given.by_entries(given.dot_x))
    close(into[2], dot_results)
