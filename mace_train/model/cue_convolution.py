"""The convolution by cuequivariance: `model.backend=cuequivariance`.

One kernel gathers senders and radial weights, multiplies, and sums over neighbors, so that
nothing of size edges x channels x components is stored.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mace_train.model.cue_products import Operand, Products, sum_of_products
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.wigner import wigner_3j

_ZERO = 1e-12  # Clebsch-Gordan coefficients are of order 0.1 to 1

Degrees = tuple[int, int, int]


@cache
def convolution_operation(
    paths: tuple[Degrees, ...], layout: Layout, max_ell: int, *, device: torch.device
) -> nn.Module:
    """The sum over paths of radial weight, sender, harmonic and Clebsch-Gordan coefficient.

    Args:
        paths: l1 of the features, l2 of the edge and l3 of the message, ordered by l3.
        layout: Degrees and channels of the node features.
        max_ell: Highest degree of the edges and of the message.
        device: Where it runs.
    """
    products = _products(paths, layout)
    num_rows = sum(2 * l3 + 1 for _, _, l3 in paths)
    return sum_of_products(
        [
            Operand(len(paths)),
            Operand(layout.num_components),
            Operand((max_ell + 1) ** 2, has_channels=False),
        ],
        Operand(num_rows),
        [products],
        channels=layout.channels,
        device=device,
    )


def _products(paths: tuple[Degrees, ...], layout: Layout) -> Products:
    """Rows of a message are all paths of its first component, of its second, and so on."""
    ends = [l3 for _, _, l3 in paths]
    rows, coefficients = [], []
    for index, (l1, l2, l3) in enumerate(paths):
        sender = sum(2 * degree + 1 for degree in layout.degrees if degree < l1)
        block = sum(2 * end + 1 for end in ends if end < l3)
        place = ends[:index].count(l3)
        symbol = wigner_3j(l1, l2, l3) * math.sqrt(2 * l3 + 1)
        for m1, m2, m3 in np.argwhere(np.abs(symbol) > _ZERO).tolist():
            message = block + m3 * ends.count(l3) + place
            rows.append((index, sender + m1, l2**2 + m2, message))
            coefficients.append(float(symbol[m1, m2, m3]))
    return Products((0, 1, 2), rows, coefficients)


def cue_convolve(
    operation: nn.Module,
    node_features: Float[Tensor, "components nodes channels"],
    weights: Float[Tensor, "pairs weights"],
    harmonics: Float[Tensor, "edges harmonics"],
    neighborhoods: Neighborhoods,
) -> Float[Tensor, "nodes message"]:
    """Messages: for each degree in turn (2 l3 + 1, paths, channels), flattened.

    Args:
        operation: From `convolution_operation`.
        node_features: Features of the atoms.
        weights: Radial weights (paths x channels), the same in both directions of a pair.
        harmonics: Spherical harmonics in the direction of the edge.
        neighborhoods: The edges.
    """
    senders = node_features.transpose(0, 1).flatten(1)
    [messages] = operation(
        [weights, senders, harmonics],
        input_indices={0: neighborhoods.tables.edge_pair, 1: neighborhoods.sender},
        output_indices={0: neighborhoods.receiver},
        # Of this one, cuequivariance reads nothing but its length.
        output_shapes={0: weights.new_empty(neighborhoods.num_nodes, 1)},
    )
    return messages
