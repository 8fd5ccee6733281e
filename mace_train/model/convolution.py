"""Gather the neighbors of each atom: the tensor-product convolution of a layer.

This file has the plain implementation, which reads like the equation and is the
specification of all others, and the choice between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mace_train.model.backends import ChosenBackend
from mace_train.model.chunked_convolution import convolve
from mace_train.model.convolution_chunks import ConvolutionTask, Coupling
from mace_train.model.cue_convolution import convolution_operation, cue_convolve
from mace_train.model.element_convolution import convolve_elements
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.wigner import wigner_3j


@dataclass(frozen=True)
class Path:
    """One way to couple the sender's features and the edge to a message.

    Attributes:
        degrees: l1 of the features, l2 of the edge, l3 of the message.
        sender: Its components m1 among those of the sender's features.
        coupled: Its columns (m1, m3) among the coupled harmonics.
        place: Place among the paths that end in l3.
    """

    degrees: tuple[int, int, int]
    sender: slice
    coupled: slice
    place: int

    @property
    def dims(self) -> tuple[int, int]:
        """Numbers of components m1 and m3."""
        return 2 * self.degrees[0] + 1, 2 * self.degrees[2] + 1


class Convolution(nn.Module):
    """Sum over neighbors j of C R(r_ij) Y(r_ij) h_j (arXiv:2206.07697, Eq. 8).

    A path couples the degree l1 of the neighbor's features with l2 of the edge to l3 of the
    message. Paths are ordered by (l3, l1, l2), as the radial weights of official files are.

    Args:
        layout: Degrees and channels of the node features.
        max_ell: Highest degree of the edges and of the message.
        alike_by_element: Whether atoms of one element always have the same features, as in
            the first layer.
    """

    coupling_matrix: Tensor
    is_odd: Tensor

    def __init__(
        self, layout: Layout, max_ell: int, *, alike_by_element: bool = False
    ) -> None:
        super().__init__()
        self.layout = layout
        self.max_ell = max_ell
        self.alike_by_element = alike_by_element and layout.degrees == (0,)
        self.paths = _paths(layout, max_ell)
        self.register_buffer("coupling_matrix", self._coupling_matrix(), persistent=False)
        degrees = torch.tensor([l2 for l2 in range(max_ell + 1) for _ in range(2 * l2 + 1)])
        self.register_buffer("is_odd", degrees % 2 == 1, persistent=False)

    @property
    def num_weights(self) -> int:
        """Radial weights that each edge needs: one a path and channel."""
        return len(self.paths) * self.layout.channels

    @property
    def num_paths(self) -> list[int]:
        """Number of paths that end in each degree."""
        ends = [path.degrees[2] for path in self.paths]
        return [ends.count(l3) for l3 in range(self.max_ell + 1)]

    @property
    def fan_in(self) -> list[int]:
        """Channels of each degree of the message: those of all its paths."""
        return [self.layout.channels * count for count in self.num_paths]

    def _coupling_matrix(self) -> Float[Tensor, "harmonics coupled"]:
        """Clebsch-Gordan coefficients from m2 to (m1, m3) of each path."""
        num_columns = self.paths[-1].coupled.stop
        matrix = torch.zeros((self.max_ell + 1) ** 2, num_columns, dtype=torch.float64)
        for path in self.paths:
            _, l2, l3 = path.degrees
            symbol = torch.from_numpy(wigner_3j(*path.degrees)) * math.sqrt(2 * l3 + 1)
            rows = slice(l2**2, (l2 + 1) ** 2)
            matrix[rows, path.coupled] = symbol.permute(1, 0, 2).flatten(1)
        return matrix

    def _coupling(self, dtype: torch.dtype) -> Coupling:
        """The paths as the fast implementation takes them."""
        counts = self.num_paths
        sizes = [(2 * l3 + 1) * count for l3, count in enumerate(counts)]
        block = [sum(sizes[:l3]) for l3 in range(len(sizes))]
        table = [
            (
                *(path.sender.start, *path.dims, path.coupled.start),
                *(block[path.degrees[2]], counts[path.degrees[2]], path.place),
            )
            for path in self.paths
        ]
        return Coupling(
            paths=np.array(table, np.int64),
            matrix=self.coupling_matrix.to(dtype),
            is_odd=self.is_odd,
            num_rows=sum(sizes),
        )

    def forward(
        self,
        node_features: Float[Tensor, "components nodes channels"],
        radial_hidden: Float[Tensor, "pairs hidden"],
        radial_matrix: Float[Tensor, "hidden weights"],
        edge_attrs: Float[Tensor, "pairs harmonics"],
        neighborhoods: Neighborhoods,
        *,
        backend: ChosenBackend,
    ) -> list[Float[Tensor, "_ nodes _"]]:
        """Messages of each degree l3: (2 l3 + 1, nodes, paths x channels).

        Args:
            node_features: Features of the atoms.
            radial_hidden: Last hidden layer of the radial MLP.
            radial_matrix: What makes radial weights of it.
            edge_attrs: Spherical harmonics up to ``max_ell``, in the direction of the pair.
            neighborhoods: The edges.
            backend: Implementation.
        """
        given = (node_features, radial_hidden, radial_matrix, edge_attrs)
        # An empty index is none at all to cuequivariance: without edges, it is not asked.
        if backend == "cuequivariance" and neighborhoods.sender.shape[0]:
            return self._cuequivariance(*given, neighborhoods)
        if backend != "chunked":
            return self._plain(*given, neighborhoods)
        coupling = self._coupling(edge_attrs.dtype)
        tables = neighborhoods.tables
        if self.alike_by_element:
            rows, operation, size = tables.neighbors_by_element, convolve_elements, 256
        else:
            rows, operation, size = tables.neighbors, convolve, self.num_weights
        task = ConvolutionTask(coupling, rows, neighborhoods.scope, weights_per_edge=size)
        messages = operation(task, *given)
        num_nodes = neighborhoods.num_nodes
        sizes = [
            (2 * l3 + 1) * count * num_nodes for l3, count in enumerate(self.num_paths)
        ]
        return [
            block.view(2 * l3 + 1, num_nodes, fan_in)
            for l3, (block, fan_in) in enumerate(zip(messages.split(sizes), self.fan_in))
        ]

    def _plain(
        self,
        node_features: Float[Tensor, "components nodes channels"],
        radial_hidden: Float[Tensor, "pairs hidden"],
        radial_matrix: Float[Tensor, "hidden weights"],
        edge_attrs: Float[Tensor, "pairs harmonics"],
        neighborhoods: Neighborhoods,
    ) -> list[Float[Tensor, "_ nodes _"]]:
        harmonics = self._of_edges(edge_attrs, neighborhoods)
        coupled = harmonics @ self.coupling_matrix.to(harmonics.dtype)
        weights = neighborhoods.of_edges(radial_hidden) @ radial_matrix
        by_path = weights.split(self.layout.channels, dim=1)
        senders = node_features.transpose(0, 1).index_select(0, neighborhoods.sender)
        messages: list[list[Tensor]] = [[] for _ in range(self.max_ell + 1)]
        for path, weight in zip(self.paths, by_path):
            products = weight[:, None] * senders[:, path.sender]
            c = coupled[:, path.coupled].unflatten(1, path.dims)
            summed = neighborhoods.sum_to_receivers(c.mT @ products)
            messages[path.degrees[2]].append(summed.transpose(0, 1))
        return [torch.cat(parts, dim=2) for parts in messages]

    def _cuequivariance(
        self,
        node_features: Float[Tensor, "components nodes channels"],
        radial_hidden: Float[Tensor, "pairs hidden"],
        radial_matrix: Float[Tensor, "hidden weights"],
        edge_attrs: Float[Tensor, "pairs harmonics"],
        neighborhoods: Neighborhoods,
    ) -> list[Float[Tensor, "_ nodes _"]]:
        paths = tuple(path.degrees for path in self.paths)
        operation = convolution_operation(
            paths, self.layout, self.max_ell, device=node_features.device
        )
        messages = cue_convolve(
            operation,
            node_features,
            radial_hidden @ radial_matrix,
            self._of_edges(edge_attrs, neighborhoods),
            neighborhoods,
        )
        sizes = [(2 * l3 + 1) * fan_in for l3, fan_in in enumerate(self.fan_in)]
        return [
            block.unflatten(1, (2 * l3 + 1, fan_in)).transpose(0, 1)
            for l3, (block, fan_in) in enumerate(
                zip(messages.split(sizes, dim=1), self.fan_in)
            )
        ]

    def _of_edges(
        self, edge_attrs: Float[Tensor, "pairs harmonics"], neighborhoods: Neighborhoods
    ) -> Float[Tensor, "edges harmonics"]:
        """Spherical harmonics in the direction of each edge."""
        sign = neighborhoods.tables.edge_sign[:, None]
        return neighborhoods.of_edges(edge_attrs) * torch.where(self.is_odd, sign, 1)


def _paths(layout: Layout, max_ell: int) -> tuple[Path, ...]:
    allowed = [
        (l1, l2, l3)
        for l1 in layout.degrees
        for l2 in range(max_ell + 1)
        for l3 in range(abs(l1 - l2), min(l1 + l2, max_ell) + 1)
        if (l1 + l2 + l3) % 2 == 0
    ]
    first = {}
    for l1 in layout.degrees:
        first[l1] = sum(2 * below + 1 for below in first)
    paths: list[Path] = []
    column = 0
    for l1, l2, l3 in sorted(allowed, key=lambda degrees: degrees[2]):
        width = (2 * l1 + 1) * (2 * l3 + 1)
        paths.append(
            Path(
                degrees=(l1, l2, l3),
                sender=slice(first[l1], first[l1] + 2 * l1 + 1),
                coupled=slice(column, column + width),
                place=sum(path.degrees[2] == l3 for path in paths),
            )
        )
        column += width
    return tuple(paths)
