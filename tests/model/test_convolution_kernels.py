"""The loops over edges: messages by einsum, and derivatives as their linear parts.

Messages are linear in each of radial weights, features and coupled harmonics, so both
derivatives follow from messages alone.
"""

import numpy as np
import pytest

from mace_train.model.convolution_kernels import (
    add_first_derivative,
    add_messages,
    add_second_derivative,
)

NUM_NODES, CHANNELS = 4, 3
# Columns: sender, dim in, dim out, coupled, block, stride, place. Messages of l = 0 by two
# paths, then of l = 1 by one.
PATHS = np.array([(0, 1, 1, 0, 0, 2, 0), (1, 3, 1, 1, 0, 2, 1), (0, 1, 3, 4, 2, 1, 0)])
RECEIVER, FIRST = np.array([2, 0]), np.array([0, 3, 5])
SENDER = np.array([1, 1, 3, 2, 0])
TABLES = (FIRST, RECEIVER, SENDER, PATHS)
SHAPES = {
    "weights": (5, 3, CHANNELS),
    "features": (4, NUM_NODES, CHANNELS),
    "coupled": (5, 7),
}
NUM_ROWS = (2 + 3) * NUM_NODES


def some(rng, dtype=np.float64):
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def messages_of(given):
    messages = np.zeros((NUM_ROWS, CHANNELS), given["weights"].dtype)
    add_messages(*TABLES, *given.values(), messages)
    return messages


def first_derivative(given, by_messages):
    into = {name: np.zeros_like(values) for name, values in given.items()}
    add_first_derivative(*TABLES, *given.values(), by_messages, *into.values())
    return into


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_messages_are_sums_of_products(rng, dtype):
    given = some(rng, dtype)
    weights, features, coupled = given.values()
    expected = np.zeros((NUM_ROWS, CHANNELS))
    for p, (sender, dim_in, dim_out, column, *_) in enumerate(PATHS):
        width = dim_in * dim_out
        c = coupled[:, column : column + width].reshape(-1, dim_in, dim_out)
        x = features[sender : sender + dim_in, SENDER]
        of_edges = np.einsum("eab,ek,aek->ebk", c, weights[:, p], x)
        for edge, atom in enumerate(np.repeat(RECEIVER, np.diff(FIRST))):
            for m3 in range(dim_out):
                row = atom * 2 + p if p < 2 else (2 + m3) * NUM_NODES + atom
                expected[row] += of_edges[edge, m3]
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(messages_of(given), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SHAPES)
def test_the_first_derivative_is_that_of_the_messages(name, rng):
    """<by_messages, messages> is linear in each argument: its change is the gradient's."""
    given, step = some(rng), some(rng)[name]
    by_messages = rng.normal(size=(NUM_ROWS, CHANNELS))
    found = (first_derivative(given, by_messages)[name] * step).sum()
    changed = messages_of({**given, name: step})
    np.testing.assert_allclose(found, (by_messages * changed).sum(), rtol=1e-12)


def test_gradients_by_features_are_added_and_the_others_set(rng):
    given, by_messages = some(rng), rng.normal(size=(NUM_ROWS, CHANNELS))
    expected = first_derivative(given, by_messages)
    into = {name: np.ones_like(values) for name, values in given.items()}
    add_first_derivative(*TABLES, *given.values(), by_messages, *into.values())
    expected["features"] += 1
    for name, values in into.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-12)


def test_the_second_derivative_is_that_of_the_first(rng):
    """Each of its terms is the first derivative with one argument replaced."""
    given, dot = some(rng), some(rng)
    by_messages = rng.normal(size=(NUM_ROWS, CHANNELS))
    by_dot_weights, into = np.zeros(SHAPES["weights"]), some(rng)
    into["features"][:] = 0
    dot_messages = np.zeros_like(by_messages)
    add_second_derivative(
        *TABLES,
        *given.values(),
        *dot.values(),
        by_messages,
        into["weights"],
        by_dot_weights,
        into["features"],
        into["coupled"],
        dot_messages,
    )
    along = [messages_of({**given, name: dot[name]}) for name in given]
    np.testing.assert_allclose(dot_messages, sum(along), atol=1e-12)
    for name, found in into.items():
        others = [other for other in given if other != name]
        expected = sum(
            first_derivative({**given, other: dot[other]}, by_messages)[name]
            for other in others
        )
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=name)
    expected = first_derivative(given, by_messages)["weights"]
    np.testing.assert_allclose(by_dot_weights, expected, atol=1e-12)
