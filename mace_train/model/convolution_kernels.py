"""The inner loops of the fast convolution, over the edges of each receiver.

For each path, with coupled harmonics c, radial weights R and the sender's features x,

    A[i, m3, k] = sum over j m1 of c[ij, m1, m3] R[ij, k] x[j, m1, k].

Nothing of size edges x channels x m1 is ever stored: products live in one row of channels.
Names: ``by_y`` is the gradient by y, ``dot_y`` the derivative of y along a direction.
"""
# pyright: basic

from __future__ import annotations

from typing import no_type_check

import numpy as np

from mace_train.model.compiled import compiled

# Columns of a table of paths.
SENDER, DIM_IN, DIM_OUT, COUPLED, BLOCK, STRIDE, PLACE = range(7)


@compiled
@no_type_check
def message_row(path, m3, node, num_nodes):
    """Row of a component of a message in (degree; m3, node, path)."""
    return (path[BLOCK] + m3 * path[STRIDE]) * num_nodes + node * path[STRIDE] + path[PLACE]


@compiled
@no_type_check
def add_messages(first, receiver, sender, paths, weights, features, coupled, messages):
    """Add the messages of some rows of neighbors.

    Args:
        first: (rows + 1,) first edge of each row, counted in the arrays of edges.
        receiver: (rows,).
        sender: (edges,).
        paths: (paths, 7) see the columns above.
        weights: (edges, paths, channels) R.
        features: (components, nodes, channels) x.
        coupled: (edges, columns) c.
        messages: (rows of messages, channels) to add to.
    """
    num_nodes, channels = features.shape[1], features.shape[2]
    products = np.empty(channels, features.dtype)
    for i in range(len(receiver)):
        for edge in range(first[i], first[i + 1]):
            for p in range(len(paths)):
                path = paths[p]
                radial = weights[edge, p]
                for m1 in range(path[DIM_IN]):
                    x = features[path[SENDER] + m1, sender[edge]]
                    for k in range(channels):
                        products[k] = radial[k] * x[k]
                    for m3 in range(path[DIM_OUT]):
                        c = coupled[edge, path[COUPLED] + m1 * path[DIM_OUT] + m3]
                        message = messages[message_row(path, m3, receiver[i], num_nodes)]
                        for k in range(channels):
                            message[k] += c * products[k]


@compiled
@no_type_check
def add_first_derivative(
    first,
    receiver,
    sender,
    paths,
    weights,
    features,
    coupled,
    by_messages,
    by_weights,
    by_features,
    by_coupled,
):
    """Set by_weights and by_coupled, and add to by_features.

    Arguments are those of `add_messages`, and arrays like them.
    """
    num_nodes, channels = features.shape[1], features.shape[2]
    products = np.empty(channels, features.dtype)
    by_products = np.empty(channels, features.dtype)
    for i in range(len(receiver)):
        for edge in range(first[i], first[i + 1]):
            for p in range(len(paths)):
                path = paths[p]
                radial, by_radial = weights[edge, p], by_weights[edge, p]
                by_radial[:] = 0
                for m1 in range(path[DIM_IN]):
                    x = features[path[SENDER] + m1, sender[edge]]
                    by_x = by_features[path[SENDER] + m1, sender[edge]]
                    for k in range(channels):
                        products[k] = radial[k] * x[k]
                    by_products[:] = 0
                    for m3 in range(path[DIM_OUT]):
                        column = path[COUPLED] + m1 * path[DIM_OUT] + m3
                        c = coupled[edge, column]
                        row = message_row(path, m3, receiver[i], num_nodes)
                        by_message = by_messages[row]
                        total = c * 0
                        for k in range(channels):
                            by_products[k] += c * by_message[k]
                            total += products[k] * by_message[k]
                        by_coupled[edge, column] = total
                    for k in range(channels):
                        by_radial[k] += by_products[k] * x[k]
                    for k in range(channels):
                        by_x[k] += by_products[k] * radial[k]


@compiled
@no_type_check
def add_second_derivative(
    first,
    receiver,
    sender,
    paths,
    weights,
    features,
    coupled,
    dot_weights,
    dot_features,
    dot_coupled,
    by_messages,
    by_weights,
    by_dot_weights,
    by_features,
    by_coupled,
    dot_messages,
):
    """Derivative of the first derivative along a direction, for all of its arguments.

    Sets by_weights, by_dot_weights and by_coupled; adds to by_features and dot_messages.
    """
    num_nodes, channels = features.shape[1], features.shape[2]
    products = np.empty(channels, features.dtype)
    dot_products = np.empty(channels, features.dtype)
    by_products = np.empty(channels, features.dtype)
    by_dot_products = np.empty(channels, features.dtype)
    for i in range(len(receiver)):
        for edge in range(first[i], first[i + 1]):
            for p in range(len(paths)):
                path = paths[p]
                radial, dot_radial = weights[edge, p], dot_weights[edge, p]
                by_radial, by_dot_radial = by_weights[edge, p], by_dot_weights[edge, p]
                by_radial[:] = 0
                by_dot_radial[:] = 0
                for m1 in range(path[DIM_IN]):
                    x = features[path[SENDER] + m1, sender[edge]]
                    dot_x = dot_features[path[SENDER] + m1, sender[edge]]
                    by_x = by_features[path[SENDER] + m1, sender[edge]]
                    for k in range(channels):
                        products[k] = radial[k] * x[k]
                    for k in range(channels):
                        dot_products[k] = radial[k] * dot_x[k] + dot_radial[k] * x[k]
                    by_products[:] = 0
                    by_dot_products[:] = 0
                    for m3 in range(path[DIM_OUT]):
                        column = path[COUPLED] + m1 * path[DIM_OUT] + m3
                        c, dot_c = coupled[edge, column], dot_coupled[edge, column]
                        row = message_row(path, m3, receiver[i], num_nodes)
                        by_message, dot_message = by_messages[row], dot_messages[row]
                        total = c * 0
                        for k in range(channels):
                            by_dot_products[k] += c * by_message[k]
                            by_products[k] += dot_c * by_message[k]
                            total += dot_products[k] * by_message[k]
                        by_coupled[edge, column] = total
                        for k in range(channels):
                            dot_message[k] += c * dot_products[k] + dot_c * products[k]
                    for k in range(channels):
                        by_radial[k] += (
                            by_dot_products[k] * dot_x[k] + by_products[k] * x[k]
                        )
                    for k in range(channels):
                        by_dot_radial[k] += by_dot_products[k] * x[k]
                    for k in range(channels):
                        by_x[k] += (
                            by_dot_products[k] * dot_radial[k] + by_products[k] * radial[k]
                        )
