"""The loops over rows of neighbors of one element, against einsum."""

import numpy as np
import pytest

from mace_train.model.element_kernels import (
    add_feature_gradients,
    add_products,
    add_row_gradients,
    add_row_sums,
    set_product_gradients,
)

FIRST = np.array([0, 2, 5, 6])
ROW = np.repeat(np.arange(3), np.diff(FIRST))
COMPONENTS, HIDDEN, NUM_NODES, CHANNELS = 4, 2, 5, 3
RECEIVER, SENDER = np.array([1, 3, 1]), np.array([0, 0, 4])


@pytest.fixture(params=[np.float32, np.float64])
def normal(request):
    rng = np.random.default_rng(0)
    return lambda *shape: rng.normal(size=shape).astype(request.param)


def close(found, expected):
    tolerance = 1e-5 if found.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_sums_of_rows_are_added(normal):
    coupled, hidden = normal(6, COMPONENTS), normal(6, HIDDEN)
    sums = np.ones((COMPONENTS, 3, HIDDEN), coupled.dtype)
    add_row_sums(FIRST, coupled, hidden, sums)
    of_edges = np.einsum("em,eh->meh", coupled, hidden)
    close(sums, 1 + np.add.reduceat(of_edges, FIRST[:-1], axis=1))


def test_gradients_of_rows_go_to_their_edges(normal):
    coupled, hidden = normal(6, COMPONENTS), normal(6, HIDDEN)
    by_sums = normal(COMPONENTS, 3, HIDDEN)
    by_coupled, by_hidden = np.ones_like(coupled), np.ones_like(hidden)
    add_row_gradients(FIRST, coupled, hidden, by_sums, by_coupled, by_hidden)
    of_edges = by_sums[:, ROW]
    close(by_coupled, 1 + np.einsum("meh,eh->em", of_edges, hidden))
    close(by_hidden, 1 + np.einsum("meh,em->eh", of_edges, coupled))


def test_products_with_the_senders_are_added_to_the_receivers(normal):
    products, features = normal(COMPONENTS, 3, CHANNELS), normal(NUM_NODES, CHANNELS)
    messages = np.ones((COMPONENTS, NUM_NODES, CHANNELS), products.dtype)
    add_products(RECEIVER, SENDER, products, features, messages)
    expected = np.ones_like(messages)
    np.add.at(expected, (slice(None), RECEIVER), products * features[SENDER])
    close(messages, expected)


def test_gradients_by_products_are_set(normal):
    features = normal(NUM_NODES, CHANNELS)
    by_messages = normal(COMPONENTS, NUM_NODES, CHANNELS)
    by_products = np.ones((COMPONENTS, 3, CHANNELS), features.dtype)
    set_product_gradients(RECEIVER, SENDER, features, by_messages, by_products)
    close(by_products, by_messages[:, RECEIVER] * features[SENDER])


def test_gradients_by_features_are_added(normal):
    products = normal(COMPONENTS, 3, CHANNELS)
    by_messages = normal(COMPONENTS, NUM_NODES, CHANNELS)
    by_features = np.ones((NUM_NODES, CHANNELS), products.dtype)
    add_feature_gradients(RECEIVER, SENDER, products, by_messages, by_features)
    expected = np.ones_like(by_features)
    np.add.at(expected, SENDER, (by_messages[:, RECEIVER] * products).sum(0))
    close(by_features, expected)
