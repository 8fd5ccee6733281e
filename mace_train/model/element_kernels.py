"""The inner loops of the first layer's convolution: sums over senders of one element.

S[m, i, h] = sum over the edges of row i of c[edge, m] hidden[edge, h], and the messages
A[m, receiver, k] = sum over rows i of P[m, i, k] x[sender, k], with P = S times a matrix.
Names: ``by_y`` is the gradient by y, ``dot_y`` the derivative of y along a direction.
"""
# pyright: basic

from __future__ import annotations

from typing import no_type_check

from mace_train.model.compiled import compiled


@compiled
@no_type_check
def add_row_sums(first, coupled, hidden, sums):
    """Add to S.

    Args:
        first: (rows + 1,) first edge of each row.
        coupled: (edges, components) c.
        hidden: (edges, hidden).
        sums: (components, rows, hidden) to add to.
    """
    for i in range(len(first) - 1):
        for edge in range(first[i], first[i + 1]):
            for m in range(coupled.shape[1]):
                c, total = coupled[edge, m], sums[m, i]
                for h in range(hidden.shape[1]):
                    total[h] += c * hidden[edge, h]


@compiled
@no_type_check
def add_row_gradients(first, coupled, hidden, by_sums, by_coupled, by_hidden):
    """Add the gradients by c and hidden, given that by S."""
    for i in range(len(first) - 1):
        for edge in range(first[i], first[i + 1]):
            into = by_hidden[edge]
            for m in range(coupled.shape[1]):
                c, by_sum = coupled[edge, m], by_sums[m, i]
                total = c * 0
                for h in range(hidden.shape[1]):
                    into[h] += c * by_sum[h]
                    total += hidden[edge, h] * by_sum[h]
                by_coupled[edge, m] += total


@compiled
@no_type_check
def add_products(receiver, sender, products, features, messages):
    """Add to A.

    Args:
        receiver: (rows,).
        sender: (rows,) an atom whose features stand for the row.
        products: (components, rows, channels) P.
        features: (nodes, channels) x.
        messages: (components, nodes, channels) to add to.
    """
    for m in range(len(products)):
        for i in range(len(receiver)):
            message, x = messages[m, receiver[i]], features[sender[i]]
            for k in range(products.shape[2]):
                message[k] += products[m, i, k] * x[k]


@compiled
@no_type_check
def set_product_gradients(receiver, sender, features, by_messages, by_products):
    """Set by_products."""
    for m in range(len(by_products)):
        for i in range(len(receiver)):
            by_message, x = by_messages[m, receiver[i]], features[sender[i]]
            for k in range(by_products.shape[2]):
                by_products[m, i, k] = by_message[k] * x[k]


@compiled
@no_type_check
def add_feature_gradients(receiver, sender, products, by_messages, by_features):
    """Add to by_features."""
    for m in range(len(products)):
        for i in range(len(receiver)):
            by_message, by_x = by_messages[m, receiver[i]], by_features[sender[i]]
            for k in range(products.shape[2]):
                by_x[k] += by_message[k] * products[m, i, k]
