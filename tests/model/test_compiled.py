import math

import numpy as np
import pytest

from mace_train.model.compiled import compiled


@compiled
def total(values, into):
    for value in values:
        into[0] += value


@compiled
def quotient(left, right, into):
    into[0] = left[0] / right[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loop_sums_in_the_precision_of_its_arrays(dtype):
    into = np.zeros(1, dtype)
    total(np.arange(1000, dtype=dtype), into)
    assert into.dtype == dtype
    assert into[0] == 499500


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_not_lost(value):
    """A diverging training has to be seen."""
    into = np.zeros(1)
    total(np.array([1.0, value, 2.0]), into)
    np.testing.assert_equal(into[0], value)


def test_a_division_by_zero_is_that_of_numpy():
    into = np.zeros(1)
    quotient(np.ones(1), np.zeros(1), into)
    assert into[0] == math.inf
