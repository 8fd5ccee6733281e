"""Chunks of receivers for the fast convolution: what they gather, and where they add up.

A chunk is a few rows of the table of neighbors, so few that its radial weights (edges x
paths x channels) fit into a core's cache. They are made, used, and made anew when a
derivative needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from mace_train.index_tables import NeighborRows
    from mace_train.model.neighborhoods import GradientScope

_CHUNK_FLOATS = 2**18  # edges x paths x channels: 1 MB in float32


@dataclass(frozen=True)
class Coupling:
    """All paths of a convolution, and how they couple.

    Attributes:
        paths: (paths, 7) the columns of `convolution_kernels`.
        matrix: From harmonics to coupled harmonics, (m1, m3) of each path.
        is_odd: Whether each harmonic changes sign with the direction of the edge.
        num_rows: Rows of a message of one atom: its components, for all paths.
    """

    paths: Int[np.ndarray, "paths 7"]
    matrix: Float[Tensor, "harmonics coupled"]
    is_odd: Bool[Tensor, " harmonics"]
    num_rows: int


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table of neighbors.

    Attributes:
        first: First edge of each row, counted from the chunk's first; then their number.
        receiver: The receiver of each row.
        sender: The sender of each edge.
        pair: The pair of each edge.
        factor: 1 or -1 for each harmonic: the direction of the edge in its pair.
    """

    first: Int[Tensor, " rows_and_end"]
    receiver: Int[Tensor, " rows"]
    sender: Int[Tensor, " edges"]
    pair: Int[Tensor, " edges"]
    factor: Float[Tensor, "edges harmonics"]


class ConvolutionTask:
    """What all passes over a batch share.

    Args:
        coupling: The paths.
        neighbors: Receivers and their neighbors, in rows.
        scope: Which gradients a backward pass is for.
        weights_per_edge: Size of what a chunk holds of each edge.
    """

    def __init__(
        self,
        coupling: Coupling,
        neighbors: NeighborRows,
        scope: GradientScope,
        *,
        weights_per_edge: int,
    ) -> None:
        self.coupling = coupling
        self.scope = scope
        num_edges = max(1, _CHUNK_FLOATS // weights_per_edge)
        self.chunks = tuple(_cut(neighbors, coupling.is_odd, num_edges))


def _cut(
    neighbors: NeighborRows, is_odd: Bool[Tensor, " harmonics"], num_edges: int
) -> Iterator[Chunk]:
    """Cut the table into chunks of about ``num_edges``, and of one row at least."""
    ends = neighbors.first.numpy()
    start = 0
    while start < len(neighbors.receiver):
        stop = int(np.searchsorted(ends, ends[start] + num_edges, side="right")) - 1
        rows = slice(start, max(stop, start + 1))
        edges = slice(int(ends[start]), int(ends[rows.stop]))
        sign = neighbors.sign[edges, None]
        yield Chunk(
            first=neighbors.first[start : rows.stop + 1] - edges.start,
            receiver=neighbors.receiver[rows],
            sender=neighbors.sender[edges],
            pair=neighbors.pair[edges],
            factor=torch.where(is_odd, sign, 1),
        )
        start = rows.stop


class Gathered:
    """Radial hidden layer and coupled harmonics of the edges of a chunk.

    Args:
        task: The convolution.
        chunk: The chunk.
        hidden: (pairs, hidden) of all pairs.
        harmonics: (pairs, harmonics) of all pairs.
    """

    def __init__(
        self,
        task: ConvolutionTask,
        chunk: Chunk,
        hidden: Float[Tensor, "pairs hidden"],
        harmonics: Float[Tensor, "pairs harmonics"],
    ) -> None:
        self.chunk = chunk
        self._matrix = task.coupling.matrix
        self.hidden = hidden.index_select(0, chunk.pair)
        directed = harmonics.index_select(0, chunk.pair).mul_(chunk.factor)
        self.coupled = directed @ self._matrix

    def add_gradients(
        self,
        into: tuple[Float[Tensor, "pairs hidden"], Float[Tensor, "pairs harmonics"]],
        by_hidden: Float[Tensor, "edges hidden"],
        by_coupled: Float[Tensor, "edges coupled"],
    ) -> None:
        """Add gradients by what was gathered to those by the pairs' arrays."""
        pair, (all_hidden, all_harmonics) = self.chunk.pair, into
        all_hidden.index_add_(0, pair, by_hidden)
        directed = (by_coupled @ self._matrix.T).mul_(self.chunk.factor)
        all_harmonics.index_add_(0, pair, directed)
