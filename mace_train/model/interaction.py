"""Message passing: what an atom hears from its neighbors, in the four kinds of MACE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mace_train.model.backends import ChosenBackend
from mace_train.model.convolution import Convolution
from mace_train.model.irreps import Layout
from mace_train.model.linear import ElementLinear, Linear
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.radial import RadialMLP

InteractionKind = Literal["plain", "residual", "density", "density_residual"]


class Interaction(nn.Module):
    """The message of each atom, one set of channels for every degree up to ``max_ell``.

    The kinds differ in two choices. With *residual*, an element-dependent map of the atom's
    own features is handed on, to be added to the layer's output; without, such a map acts
    on the message. With *density*, the sum over neighbors is divided by one plus a learned
    density, and not by their mean number.

    Args:
        kind: ``plain``, ``residual``, ``density`` or ``density_residual``.
        layout_in: Degrees and channels of the node features.
        layout_out: Those of the layer's output, for the residual.
        max_ell: Highest degree of edges and message.
        num_radial_basis: Number of radial basis functions.
        radial_mlp: Sizes of the hidden layers of the radial MLP.
        num_elements: Number of elements in the model's table.
        avg_num_neighbors: Mean number of neighbors in the training set.
        alike_by_element: Whether atoms of one element always have the same features, as in
            the first layer.
    """

    def __init__(
        self,
        kind: InteractionKind,
        *,
        layout_in: Layout,
        layout_out: Layout,
        max_ell: int,
        num_radial_basis: int,
        radial_mlp: Sequence[int],
        num_elements: int,
        avg_num_neighbors: float,
        alike_by_element: bool = False,
    ) -> None:
        super().__init__()
        channels = layout_in.channels
        message = Layout.up_to(max_ell, channels)
        self.avg_num_neighbors = avg_num_neighbors
        self.has_residual = kind in ("residual", "density_residual")
        self.linear_up = Linear([channels] * len(layout_in.degrees), channels)
        self.convolution = Convolution(
            layout_in, max_ell, alike_by_element=alike_by_element
        )
        self.conv_tp_weights = RadialMLP(
            [num_radial_basis, *radial_mlp, self.convolution.num_weights]
        )
        self.linear = Linear(self.convolution.fan_in, channels)
        skip = (layout_in, layout_out) if self.has_residual else (message, message)
        self.skip_tp = ElementLinear(*skip, num_elements=num_elements)
        self.density_fn = (
            RadialMLP([num_radial_basis, 1]) if kind.startswith("density") else None
        )
        self.layout_in = layout_in

    def forward(
        self,
        node_features: Float[Tensor, "components nodes channels"],
        radial_basis: Float[Tensor, "pairs num_radial_basis"],
        edge_attrs: Float[Tensor, "pairs harmonics"],
        neighborhoods: Neighborhoods,
        *,
        backend: ChosenBackend,
    ) -> tuple[
        Float[Tensor, "harmonics nodes channels"],
        Float[Tensor, "components_out nodes channels"] | None,
    ]:
        """The message, and the residual to add to the product basis or None.

        Args:
            node_features: Features of the atoms.
            radial_basis: Radial basis of the pairs.
            edge_attrs: Spherical harmonics of the pairs.
            neighborhoods: The edges.
            backend: Implementation of the convolution.
        """
        elements = neighborhoods.tables.elements
        residual = self.skip_tp(node_features, elements) if self.has_residual else None

        features = self.linear_up(self.layout_in.split(node_features))
        radial_hidden, radial_matrix = self.conv_tp_weights(
            radial_basis, backend=backend, scope=neighborhoods.scope
        )
        gathered = self.convolution(
            features,
            radial_hidden,
            radial_matrix,
            edge_attrs,
            neighborhoods,
            backend=backend,
        )
        message = self.linear(gathered) / self._normalization(radial_basis, neighborhoods)

        if residual is None:
            message = self.skip_tp(message, elements)
        return message, residual

    def _normalization(
        self,
        radial_basis: Float[Tensor, "pairs num_radial_basis"],
        neighborhoods: Neighborhoods,
    ) -> float | Float[Tensor, "nodes 1"]:
        """Mean number of neighbors, or one plus the learned density around each atom."""
        if self.density_fn is None:
            return self.avg_num_neighbors
        (matrix,) = self.density_fn.matrices()
        densities = neighborhoods.of_edges(torch.tanh((radial_basis @ matrix) ** 2))
        return 1 + neighborhoods.sum_to_receivers(densities)
