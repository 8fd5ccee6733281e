"""Gather the neighbors of each atom: the tensor-product convolution of a layer.

The Clebsch-Gordan coefficients do not depend on the neighbor, so they are applied once an
atom, after the sum over neighbors: A = sum over (m1 m2) of C * (sum over j of Y R h).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.wigner import wigner_3j


class Convolution(nn.Module):
    """Sum over neighbors j of C R(r_ij) Y(r_ij) h_j (arXiv:2206.07697, Eq. 8).

    A path couples the degree l1 of the neighbor's features with l2 of the edge to l3 of the
    message. Paths are ordered by (l3, l1, l2), as the radial weights of official files are.

    Args:
        layout: Degrees and channels of the node features.
        max_ell: Highest degree of the edges and of the message.
    """

    coupling: Tensor

    def __init__(self, layout: Layout, max_ell: int) -> None:
        super().__init__()
        self.layout = layout
        self.max_ell = max_ell
        self.paths = sorted(
            (
                (l1, l2, l3)
                for l1 in layout.degrees
                for l2 in range(max_ell + 1)
                for l3 in range(abs(l1 - l2), min(l1 + l2, max_ell) + 1)
                if (l1 + l2 + l3) % 2 == 0
            ),
            key=lambda path: path[2],
        )
        # Paths with the same l1 and l2 share their sum over neighbors.
        self.groups: dict[tuple[int, int], list[int]] = {}
        for l2 in range(max_ell + 1):
            for l1 in layout.degrees:
                members = [i for i, path in enumerate(self.paths) if path[:2] == (l1, l2)]
                if members:
                    self.groups[l1, l2] = members
        self.order = [index for members in self.groups.values() for index in members]
        self.register_buffer("coupling", self._coupling_matrix(), persistent=False)

    @property
    def num_weights(self) -> int:
        """Radial weights that each edge needs: one a path and channel."""
        return len(self.paths) * self.layout.channels

    @property
    def fan_in(self) -> list[int]:
        """Channels of each degree of the message: those of all its paths."""
        ends = [path[2] for path in self.paths]
        return [self.layout.channels * ends.count(l3) for l3 in range(self.max_ell + 1)]

    def _coupling_matrix(self) -> Float[Tensor, "coupled products"]:
        """Clebsch-Gordan coefficients from (l1, l2; m2, m1, path) to (l3; m3, path)."""
        first_row = {}
        num_rows = 0
        for l3 in range(self.max_ell + 1):
            ending = [index for index, path in enumerate(self.paths) if path[2] == l3]
            for place, index in enumerate(ending):
                first_row[index] = (num_rows + place, len(ending))
            num_rows += (2 * l3 + 1) * len(ending)
        blocks = []
        for (l1, l2), members in self.groups.items():
            block = torch.zeros(num_rows, 2 * l2 + 1, 2 * l1 + 1, len(members))
            block = block.double()
            for column, index in enumerate(members):
                l3 = self.paths[index][2]
                symbol = torch.from_numpy(wigner_3j(l1, l2, l3)) * math.sqrt(2 * l3 + 1)
                start, stride = first_row[index]
                rows = start + stride * torch.arange(2 * l3 + 1)
                block[rows, :, :, column] = symbol.permute(2, 1, 0)
            blocks.append(block.flatten(1))
        return torch.cat(blocks, dim=1)

    def forward(
        self,
        node_features: Float[Tensor, "components nodes channels"],
        radial_hidden: Float[Tensor, "edges hidden"],
        radial_matrix: Float[Tensor, "hidden weights"],
        edge_attrs: Float[Tensor, "edges harmonics"],
        neighborhoods: Neighborhoods,
    ) -> list[Float[Tensor, "_ nodes _"]]:
        """Messages of each degree l3: (2 l3 + 1, nodes, paths x channels).

        Args:
            node_features: Features of the atoms.
            radial_hidden: Last hidden layer of the radial MLP.
            radial_matrix: What makes radial weights of it.
            edge_attrs: Spherical harmonics up to ``max_ell``.
            neighborhoods: The edges.
        """
        senders = node_features.transpose(0, 1).index_select(0, neighborhoods.sender)
        by_degree = senders.split([2 * l1 + 1 for l1 in self.layout.degrees], dim=1)
        sender_features = dict(zip(self.layout.degrees, by_degree))
        harmonics = edge_attrs.split([2 * l2 + 1 for l2 in range(self.max_ell + 1)], dim=1)

        channels = self.layout.channels
        matrix = radial_matrix.view(-1, len(self.paths), channels)[:, self.order]
        weights = radial_hidden @ matrix.flatten(1)
        weights = weights.view(-1, len(self.paths), channels)
        by_group = weights.split([len(members) for members in self.groups.values()], dim=1)

        blocks = (neighborhoods.block_receiver.shape[0], neighborhoods.block_size)
        sums = []
        for (l1, l2), weight in zip(self.groups, by_group):
            products = sender_features[l1][:, :, None] * weight[:, None]
            y = harmonics[l2].view(*blocks, 2 * l2 + 1).transpose(1, 2)
            size = (2 * l1 + 1) * weight.shape[1] * channels
            sums.append((y @ products.view(*blocks, size)).flatten(1))
        neighbor_sums = neighborhoods.sum_blocks(torch.cat(sums, dim=1))
        neighbor_sums = neighbor_sums.view(-1, self.coupling.shape[1], channels)

        coupled = self.coupling.to(neighbor_sums.dtype) @ neighbor_sums
        sizes = [(2 * l3 + 1) * fan // channels for l3, fan in enumerate(self.fan_in)]
        return [
            block.reshape(-1, 2 * l3 + 1, fan).transpose(0, 1)
            for l3, (block, fan) in enumerate(zip(coupled.split(sizes, dim=1), self.fan_in))
        ]
